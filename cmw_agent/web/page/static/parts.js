/* What the page's own scripts share: making elements, asking the server, waiting for a place.
 *
 * Whatever comes from the server is put in as text or as a property, never as HTML.
 */
(() => {
  "use strict";
  const base = new URL(".", document.baseURI);

  window.cmw.make = (tag, props = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(props)) {
      if (key in element) element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };

  // `body` is what is sent: a text is taken for JSON already.
  window.cmw.ask = async (path, body) => {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
    };
    const answer = await fetch(new URL(path, base), { cache: "no-store", ...options });
    const content = await answer.json().catch(() => ({}));
    if (answer.ok) return content;
    const error = new Error(content.detail || window.cmw.t("That did not work; please try again."));
    error.status = answer.status;
    throw error;
  };

  window.cmw.conversation = () => new URL(location.href).searchParams.get("c");

  // Calls `found` once, when the part of the page is there. What stands in a message could bear
  // any id, and is no part of the page.
  window.cmw.when = (selector, found) => {
    const look = () => {
      const place = [...document.querySelectorAll(selector)].find((one) => !one.parentElement.closest("#cmw-chat"));
      if (!place) return;
      watch.disconnect();
      found(place);
    };
    const watch = new MutationObserver(look);
    watch.observe(document.documentElement, { childList: true, subtree: true });
    look();
  };
})();
