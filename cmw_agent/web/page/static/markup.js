/* Runs before Gradio's own script: what a message may hold once its Markdown has become HTML.
 *
 * Gradio writes a message's HTML into a template, takes out what runs script, draws formulas into
 * it and moves it into the page. Here what came from that HTML (and not from the formulas' own
 * code) is reduced to the elements and attributes below before it moves: no form, field, button,
 * style, dialog, name, and no picture that is fetched without a click.
 */
(() => {
  "use strict";
  const ELEMENTS = new Set((
    "a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption "
    + "figure h1 h2 h3 h4 h5 h6 hr i ins kbd li mark ol p pre q rp rt ruby s samp small span strike "
    + "strong sub summary sup table tbody td tfoot th thead tr u ul var wbr").split(" "));
  // These go with all that they hold; of others what they hold stays.
  const WHOLE = new Set((
    "audio canvas dialog embed iframe link math meta noscript object picture script select style svg "
    + "template textarea title video").split(" "));
  const ATTRIBUTES = new Set("align aria-label colspan dir href lang open rel reversed rowspan scope start target title".split(" "));
  const CLASSES = new Set((
    "code_wrap cmw-sources cmw-waiting table token annotation atrule attr-name attr-value bold boolean builtin cdata "
    + "changed char class-name comment constant decorator deleted doctype entity function important "
    + "inserted italic keyword namespace number operator parameter prolog property punctuation regex "
    + "rule selector string symbol tag title triple-quoted-string unit url variable").split(" "));
  const LANGUAGE = /^language-[\w+#.-]{1,40}$/;
  const RASTER = /^data:image\/(png|jpeg|gif|webp|avif|bmp);base64,[A-Za-z0-9+/=\s]+$/;
  const FILE = /^files\/[0-9a-f]{32}$/;
  // The app's own button that connects an account passes: connections.js leaves it in its panel alone.
  const LINK = /^(https?:|mailto:|\/(?!\/)|\?|#|files\/[0-9a-f]{32}$|connections\/connect\?ticket=[\w-]{43}$)/i;
  const written = new WeakSet(); // elements that came from a text of HTML

  // A picture in the text itself stays; of all others, a user's own files too, a link is left.
  function drawn(image) {
    const address = image.getAttribute("src") ?? "";
    const text = image.getAttribute("alt") ?? "";
    if (!RASTER.test(address)) {
      if (!/^https?:/i.test(address) && !FILE.test(address)) return document.createTextNode(text);
      const link = document.createElement("a");
      link.href = address;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      link.textContent = text || address;
      return link;
    }
    const made = document.createElement("img");
    made.alt = text;
    made.src = address;
    return made;
  }

  // Gradio's button beside a block of code, made anew: its look alone, nothing of the message.
  function copyButton(found) {
    const made = document.createElement("button");
    made.className = "copy_code_button";
    made.title = "copy";
    made.type = "button";
    const icons = [...found.querySelectorAll(":scope > span > svg")].map((one) => one.querySelector("path")?.getAttribute("d"));
    ["copy-text", "check"].forEach((name, place) => {
      const span = document.createElement("span");
      span.className = name;
      const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      for (const [key, value] of Object.entries({
        viewBox: place ? "0 0 16 16" : "0 0 15 15", width: 15, height: 15, "aria-hidden": "true",
      })) icon.setAttribute(key, value);
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("fill", "currentColor");
      path.setAttribute("d", icons[place] ?? "");
      icon.append(path);
      span.append(icon);
      made.append(span);
    });
    return made;
  }

  function reduce(element) {
    const tag = element.localName;
    if (tag === "img") { element.replaceWith(drawn(element)); return; }
    if (tag === "button" && element.matches("div.code_wrap > button.copy_code_button:first-child")
        && element.nextElementSibling?.localName === "pre") {
      element.replaceWith(copyButton(element));
      return;
    }
    if (tag === "input" && element.type === "checkbox" && element.closest("li")) {
      element.replaceWith(element.checked ? "☑ " : "☐ "); // a list of tasks
      return;
    }
    if (!ELEMENTS.has(tag)) {
      if (WHOLE.has(tag)) element.remove();
      else element.replaceWith(...element.childNodes);
      return;
    }
    for (const { name, value } of [...element.attributes]) {
      if (name === "class") {
        const classes = value.split(/\s+/).filter((one) => CLASSES.has(one) || LANGUAGE.test(one));
        if (classes.length) element.setAttribute(name, classes.join(" "));
        else element.removeAttribute(name);
      } else if (!ATTRIBUTES.has(name) || (name === "href" && !LINK.test(value.trim()))) {
        element.removeAttribute(name);
      }
    }
    if (tag === "a" && element.closest(".cmw-sources")) element.rel = "noopener noreferrer nofollow";
  }

  function clean(fragment) {
    // Innermost first: what an element held is judged before it takes the element's place.
    for (const element of [...fragment.querySelectorAll("*")].reverse()) {
      if (written.has(element) && fragment.contains(element)) reduce(element);
    }
  }

  const html = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML");
  Object.defineProperty(HTMLTemplateElement.prototype, "innerHTML", {
    ...html,
    set(text) {
      html.set.call(this, text);
      if (typeof text === "string") for (const one of this.content.querySelectorAll("*")) written.add(one);
    },
  });
  const append = DocumentFragment.prototype.append;
  DocumentFragment.prototype.append = function (...nodes) {
    for (const node of nodes) {
      if (node instanceof DocumentFragment && node.ownerDocument !== document) clean(node);
    }
    return append.apply(this, nodes);
  };
})();
