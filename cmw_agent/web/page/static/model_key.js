/* The user's own key for the model: kept for this tab, and sent with the page's events alone.
 *
 * It belongs to the user who has entered it: who signs in or out is somebody else.
 */
(() => {
  "use strict";
  const { make, t } = window.cmw;
  const path = new URL(".", document.baseURI).pathname;
  const STORAGE_KEY = `cmw.key${path === "/" ? "" : path}`;
  let key = ""; // also where the browser refuses storage
  let note = null;

  window.cmw.modelKey = () => key;

  function keep(value, user) {
    key = value;
    try {
      if (key) sessionStorage.setItem(STORAGE_KEY, JSON.stringify({ user, key }));
      else sessionStorage.removeItem(STORAGE_KEY);
    } catch { /* it lasts as long as the page, then */ }
    if (note) note.hidden = Boolean(key);
  }

  function kept(user) {
    try {
      const found = JSON.parse(sessionStorage.getItem(STORAGE_KEY));
      return found?.user === user && typeof found.key === "string" ? found.key : "";
    } catch { return ""; }
  }

  function link(page) {
    return make("a", { href: page, target: "_blank", rel: "noopener noreferrer" }, t("Where to get a key"));
  }

  function build(host, { page }, user) {
    const input = make("input", {
      id: "cmw-key", type: "password", autocomplete: "off", spellcheck: false, maxLength: 1000, value: key,
    });
    const said = make("p", { className: "cmw-hint", role: "status" });
    const form = make("form", {},
      make("label", { className: "cmw-setting" }, make("span", {}, t("Key for the model"),
        make("small", {}, t("An API key or an access token; it pays for your answers."))), input),
      make("p", {}, make("button", { type: "submit" }, t("Use this key")), " ",
        make("button", { type: "button", className: "cmw-key-remove" }, t("Remove"))), said);
    const set = (value, words) => {
      keep(value, user);
      input.value = key;
      said.textContent = words;
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = input.value.trim();
      // eslint-disable-next-line no-control-regex
      if (/^[\x21-\x7e]*$/.test(value)) set(value, value ? t("Your messages are sent with this key now.") : t("No key is kept."));
      else said.textContent = t("A key is one word of ASCII characters.");
    });
    form.querySelector(".cmw-key-remove").addEventListener("click", () => set("", t("No key is kept.")));
    host.append(make("h3", {}, t("Your key")), form, ...(page ? [make("p", {}, link(page))] : []),
      make("p", { className: "cmw-hint" },
        t("It is kept in this tab until you close it, and goes with your messages. This app stores it nowhere.")));
  }

  function ask() {
    const open = make("button", { type: "button" }, t("Enter a key"));
    open.addEventListener("click", () => window.cmw.openSettings("key"));
    note = make("div", { id: "cmw-key-note", role: "note", hidden: Boolean(key) },
      t("This app has no key for the model of its own: you get answers with a key of yours."), " ", open);
    window.cmw.when("#cmw-head", (head) => head.after(note));
  }

  let offered = null;
  let owner = null;
  window.cmw.addSettings("key", t("Your key"), (host) => build(host, offered, owner), false);
  Promise.all([window.cmw.keys(), window.cmw.user()]).then(([keys, user]) => {
    if (!keys) return;
    [offered, owner] = [keys, user];
    key = kept(user);
    window.cmw.offers({ key: true });
    if (keys.needed) ask();
  });
})();
