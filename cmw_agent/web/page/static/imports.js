/* Imports: an export file of this app or another is sent to the server, which imports it by itself.
 *
 * `window.cmw.importing(changed)` makes the button, and the panel that says how far the import is.
 * Once the file is there, the page may go: whichever page of its owner is open shows the progress
 * and the result. What comes from the file and from the server is put in as text.
 */
(() => {
  "use strict";
  const { make, ask, t, tn, number } = window.cmw;
  const base = new URL(".", document.baseURI);
  const POLL_MS = 1_000;
  const LIST_MS = 5_000; // between two drawings of the list while conversations come
  const BROKEN = t("The file was not sent, since the connection broke off; please try again.");
  const LOST = t("The import has ended, since the app was restarted. What was imported stays; import the "
    + "file again for the rest, and what is here already is skipped.");

  // Resolves once the server has the file and knows its form; the import goes on by itself then.
  async function send(file, signal) {
    const agent = new URL(location.href).searchParams.get("agent");
    const path = agent ? `history/import?agent=${encodeURIComponent(agent)}` : "history/import";
    const answer = await fetch(new URL(path, base), {
      method: "POST",
      headers: {
        "content-type": "application/octet-stream",
        "x-file-name": encodeURIComponent(file.name.slice(-100)),
      },
      body: file,
      signal,
    });
    if (answer.ok) {
      await answer.body.cancel();
      return;
    }
    const content = await answer.json().catch(() => ({}));
    throw new Error(content.detail || t("This file could not be imported."));
  }

  function soFar({ name, imported, skipped, refused }) {
    const others = [
      skipped ? t("here already: {count}", { count: number(skipped) }) : "",
      refused ? t("not imported: {count}", { count: number(refused) }) : "",
    ].filter(Boolean);
    const rest = others.length ? ` (${others.join(", ")})` : "";
    const said = tn("Importing “{name}”: {count} conversation so far{rest}.", "Importing “{name}”: {count} conversations so far{rest}.",
      imported, { name, rest });
    return `${said} ${t("You can close this page meanwhile.")}`;
  }

  function problems(found) {
    const items = found.map(({ title, reason }) => make("li", {}, `${title ? `“${title}”` : t("One without a title")} ${reason}`));
    return make("details", {}, make("summary", {}, t("What was not imported")), make("ul", {}, ...items));
  }

  window.cmw.importing = (changed) => {
    const chooser = make("input", { type: "file", hidden: true, accept: ".json,.jsonl,.zip" });
    const button = make("button", {
      type: "button", className: "cmw-wide",
      title: t("An export of this app, ChatGPT, Claude or Open WebUI, as JSON or ZIP"),
    }, t("Import conversations…"));
    const text = make("div", { role: "status" });
    const more = make("div", {});
    const progress = make("progress", { "aria-label": t("Importing") });
    const action = make("button", { type: "button" });
    const panel = make("div", { className: "cmw-import", hidden: true }, text, more, progress, action);
    const stay = (event) => event.preventDefault();
    let sending = null; // stops the upload
    let state = null; // as the server has it
    let timer;
    let act = () => {};
    let listed = { imported: 0, at: 0 };

    function draw(said, { busy = false, share = 0, label = t("OK"), list = [] } = {}) {
      panel.hidden = false;
      if (text.textContent !== said) text.textContent = said;
      more.replaceChildren(...(list.length ? [problems(list)] : []));
      progress.hidden = !busy;
      if (share > 0 && share < 1) progress.value = share;
      else progress.removeAttribute("value");
      action.textContent = label;
      action.disabled = false;
      button.disabled = busy;
    }

    function hide() {
      panel.hidden = true;
      button.disabled = false;
    }

    function note(said) {
      act = hide;
      draw(said);
    }

    async function dismiss() {
      action.disabled = true;
      try { show(await ask("history/import/dismiss", { id: state.id })); }
      catch (error) {
        if (error.status === 404) await poll();
        else note(error.message);
      }
    }

    // Draws the state of the import that the server has; null where it has none.
    function show(found) {
      if (sending) return;
      const wasRunning = state && !state.result;
      clearTimeout(timer);
      state = found;
      if (!found) {
        if (wasRunning) note(LOST);
        else if (act === dismiss) hide();
      } else if (found.result) {
        act = dismiss;
        draw(found.result.sentence, { list: found.result.problems });
      } else {
        act = dismiss;
        draw(soFar(found), { busy: true, share: found.share_read, label: t("Stop importing") });
        timer = setTimeout(poll, POLL_MS);
      }
      const isMore = (found?.imported ?? 0) > listed.imported && Date.now() - listed.at > LIST_MS;
      if ((wasRunning && (!found || found.result)) || (!found?.result && isMore)) {
        listed = { imported: found?.imported ?? 0, at: Date.now() };
        changed();
      }
    }

    async function poll() {
      clearTimeout(timer);
      try { show(await ask("history/import")); }
      catch { timer = setTimeout(poll, POLL_MS); } // the line is down: the import goes on
    }

    async function take(file) {
      sending = new AbortController();
      listed = { imported: 0, at: Date.now() };
      act = () => sending?.abort();
      draw(t("Sending “{name}”…", { name: file.name }), { busy: true, label: t("Stop importing") });
      panel.scrollIntoView({ block: "nearest" });
      addEventListener("beforeunload", stay);
      let refusal = null;
      try { await send(file, sending.signal); }
      catch (error) {
        const said = error instanceof TypeError ? BROKEN : error.message;
        refusal = error.name === "AbortError" ? t("The file was not sent.") : said;
      } finally {
        removeEventListener("beforeunload", stay);
        sending = null;
      }
      if (refusal) return note(refusal);
      state = { id: "", result: null }; // that it is not there any more is told, too
      await poll();
    }

    action.addEventListener("click", () => act());
    button.addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      const [file] = chooser.files;
      chooser.value = "";
      if (file) take(file);
    });
    return { panel, parts: [button, chooser], show };
  };
})();
