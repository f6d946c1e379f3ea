/* Imports: an export file of this app or another is sent to the server, which answers in lines.
 *
 * `window.cmw.importing(refresh)` makes the button and its status line. What comes from the file and
 * from the server is put in as text. The import ends with the page, so leaving it asks first.
 */
(() => {
  "use strict";
  const { make } = window.cmw;
  const base = new URL(".", document.baseURI);
  const FAILED = "The import broke off; what was imported before stays.";

  // Calls `seen` with each JSON value of a body that has one on each line; returns the last one.
  async function lines(body, seen) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let last = null;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return last;
      rest += value;
      const whole = rest.split("\n");
      rest = whole.pop();
      for (const line of whole) {
        last = JSON.parse(line);
        seen(last);
      }
    }
  }

  async function send(file, seen) {
    const agent = new URL(location.href).searchParams.get("agent");
    const path = agent ? `history/import?agent=${encodeURIComponent(agent)}` : "history/import";
    const answer = await fetch(new URL(path, base), {
      method: "POST",
      headers: {
        "content-type": "application/octet-stream",
        "x-file-name": encodeURIComponent(file.name.slice(-300)),
      },
      body: file,
    });
    if (!answer.ok) {
      const content = await answer.json().catch(() => ({}));
      throw new Error(content.detail || "This file could not be imported.");
    }
    const result = await lines(answer.body, seen);
    if (!result?.done) throw new Error(FAILED);
    return result;
  }

  window.cmw.importing = (refresh) => {
    const chooser = make("input", { type: "file", hidden: true, accept: ".json,.jsonl,.zip" });
    const button = make("button", {
      type: "button", className: "cmw-wide",
      title: "An export of this app, ChatGPT, Claude or Open WebUI, as JSON or ZIP",
    }, "Import conversations…");
    const status = make("div", { className: "cmw-status", role: "status", hidden: true });
    const progress = make("progress", { "aria-label": "Importing", hidden: true });
    const tell = (text) => { status.textContent = text; status.hidden = !text; };
    const stay = (event) => event.preventDefault();

    async function take(file) {
      button.disabled = true;
      progress.hidden = false;
      tell(`Importing ${file.name}…`);
      addEventListener("beforeunload", stay);
      try {
        const result = await send(file, ({ imported, refused }) => {
          const others = refused ? `, ${refused} were not` : "";
          tell(`Importing ${file.name}: ${imported} conversations so far${others}…`);
        });
        tell(result.sentence);
      } catch (error) {
        tell(error instanceof TypeError ? FAILED : error.message);
      } finally {
        removeEventListener("beforeunload", stay);
        progress.hidden = true;
        button.disabled = false;
        refresh();
      }
    }

    button.addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      const [file] = chooser.files;
      chooser.value = "";
      if (file) take(file);
    });
    return [button, chooser, progress, status];
  };
})();
