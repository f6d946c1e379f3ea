/* The pictures that a user attached or a model made, fetched and drawn; a press shows one large.
 *
 * The server sends them as parts of their own, which Gradio draws as links to files; no text of a
 * message makes such a part, and nothing else is fetched.
 */
(() => {
  "use strict";
  const ATTACHED = "#cmw-chat a.file-link[data-testid=chatbot-file]";
  const FILE = /^files\/[0-9a-f]{32}$/;
  const MOST = 100; // whose bytes are kept while the page is open

  const { make } = window.cmw;
  const base = new URL(".", document.baseURI);
  const pictures = new Map(); // address → promise of an object URL

  function picture(address) {
    if (!pictures.has(address)) {
      const loaded = fetch(new URL(address, base)).then(async (answer) => {
        if (!answer.ok) throw new Error("no picture");
        return URL.createObjectURL(await answer.blob());
      });
      pictures.set(address, loaded);
      if (pictures.size > MOST) {
        const [oldest, made] = pictures.entries().next().value;
        pictures.delete(oldest);
        made.then((url) => URL.revokeObjectURL(url)).catch(() => {});
      }
    }
    return pictures.get(address);
  }

  function draw(link) {
    const address = link.getAttribute("href") ?? "";
    let image = link.querySelector("img");
    if (link.closest(".md") || !FILE.test(address) || image?.dataset.of === address) return;
    image?.remove();
    image = document.createElement("img");
    image.dataset.of = address;
    image.alt = link.getAttribute("download") ?? "";
    link.prepend(image);
    picture(address).then((url) => { image.src = url; }).catch(() => {});
  }

  function enlarge(event) {
    const link = event.target.closest?.(ATTACHED);
    const image = link?.querySelector("img[data-of]");
    if (!image?.src || link.closest(".md") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const name = image.alt || "Picture";
    const close = make("button", { type: "button" }, "Close");
    const save = make("a", { href: image.src, download: name }, "Save");
    const dialog = make("dialog", { className: "cmw-picture", "aria-label": name },
      make("img", { src: image.src, alt: image.alt }), make("div", {}, save, close));
    dialog.addEventListener("click", ({ target }) => { if (target !== save) dialog.close(); });
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("click", enlarge, true);
  const look = () => document.querySelectorAll(ATTACHED).forEach(draw);
  new MutationObserver(look).observe(document.documentElement, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["href"],
  });
  look();
})();
