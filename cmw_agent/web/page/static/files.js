/* Files beside the box: chosen, dropped or pasted; each is uploaded at once and shown as a chip.
 *
 * What the page sends with a message are the files that `window.cmw.attached()` returns, each with
 * id and name; a message that was refused gives them back with `window.cmw.detach(files)`. Names are
 * put in as text.
 */
(() => {
  "use strict";
  const { make, ask } = window.cmw;
  const base = new URL(".", document.baseURI);
  const MOST = 10;
  const chips = new Map(); // chip → { id, name, taken, abort }
  let row, status, chooser;

  function tell(text) {
    status.textContent = text;
    status.hidden = !text;
  }

  const open = () => [...chips].filter(([, entry]) => !entry.taken);
  const isReady = ([, entry]) => Boolean(entry.id);

  function show() {
    row.hidden = !open().length;
    window.cmw.drafts?.save();
  }

  async function remove(id) {
    await ask("files/remove", { id }).catch(() => { /* one that no message has goes by itself */ });
  }

  function draw(entry) {
    const off = make("button", { type: "button", "aria-label": `Remove ${entry.name}` }, "×");
    const chip = make("li", { className: "cmw-chip" }, make("span", {}, entry.name), off);
    const drop = () => { chips.delete(chip); chip.remove(); show(); };
    entry.drop = drop;
    chips.set(chip, entry);
    row.append(chip);
    show();
    off.addEventListener("click", () => {
      entry.abort?.abort();
      if (entry.id) remove(entry.id);
      drop();
      document.querySelector("#cmw-input textarea")?.focus();
    });
    return { drop, off };
  }

  async function upload(file) {
    if (open().length >= MOST) {
      tell(`A message takes at most ${MOST} files.`);
      return;
    }
    const abort = new AbortController();
    const progress = make("progress", { "aria-label": `Uploading ${file.name}` });
    const entry = { id: null, name: file.name, taken: false, abort };
    const { drop, off } = draw(entry);
    off.before(progress);
    try {
      const answer = await fetch(new URL("files", base), {
        method: "POST",
        headers: {
          "content-type": file.type || "application/octet-stream",
          "x-file-name": encodeURIComponent(file.name.slice(-300)),
        },
        body: file,
        signal: abort.signal,
      });
      const content = await answer.json().catch(() => ({}));
      if (!answer.ok) throw new Error(content.detail || "This file could not be uploaded.");
      if (abort.signal.aborted) { remove(content.id); return; }
      entry.id = content.id;
      progress.remove();
      tell("");
      show();
    } catch (error) {
      if (abort.signal.aborted) return;
      drop();
      tell(error instanceof TypeError
        ? `${file.name}: the upload broke off; it may be too large.` : `${file.name}: ${error.message}`);
    }
  }

  function take(files) {
    const some = [...files];
    if (some.length && window.cmw.temporaryChat() !== null) {
      tell("A temporary chat takes no files, since they would be stored.");
      return true;
    }
    if (some.length) tell("");
    for (const file of some) upload(file);
    return some.length > 0;
  }

  const named = ([, { id, name }]) => ({ id, name });

  // What is ready, and is not sent yet.
  window.cmw.filesHere = () => open().filter(isReady).map(named);

  // The same; its chips go out of sight until the message was taken or refused.
  window.cmw.attached = () => {
    const ready = open().filter(isReady);
    for (const [chip, entry] of ready) chip.hidden = entry.taken = true;
    show();
    return ready.map(named);
  };

  // They are in the draft of a chat that the page leaves.
  window.cmw.putAwayFiles = () => {
    for (const [chip] of open().filter(isReady)) {
      chips.delete(chip);
      chip.remove();
    }
    row.hidden = !open().length;
  };

  // A file that no message has is deleted after some time.
  async function check({ id, name, drop }) {
    const answer = await fetch(new URL(`files/${encodeURIComponent(id)}`, base), { method: "HEAD" }).catch(() => null);
    if (answer?.status !== 404) return;
    drop();
    tell(`${name} is not stored any more; please attach it again.`);
  }

  window.cmw.detach = (files) => {
    for (const file of files) {
      const found = [...chips].find(([, entry]) => entry.id === file.id);
      if (found) {
        const [chip, entry] = found;
        entry.taken = false;
        chip.hidden = false;
      } else { // it was attached before the page was loaded, or left the chat
        const entry = { ...file, taken: false, abort: null };
        draw(entry);
        check(entry);
      }
    }
    show();
  };
  window.cmw.uploading = () => [...chips.values()].some((entry) => !entry.taken && !entry.id);

  function build(input) {
    row = make("ul", { className: "cmw-chips", "aria-label": "Attached files", hidden: true });
    status = make("div", { className: "cmw-file-status", role: "alert", hidden: true });
    chooser = make("input", { type: "file", multiple: true, hidden: true, tabIndex: -1 });
    const button = make("button", {
      type: "button", id: "cmw-attach", "aria-label": "Attach files", title: "Attach files",
    }, "");
    button.addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => { take(chooser.files); chooser.value = ""; });
    input.before(make("div", { className: "cmw-files" }, status, row, chooser));
    input.prepend(button);
    // A message would leave without the file that is still on its way.
    const hold = (event) => {
      if (!window.cmw.uploading()) return;
      event.preventDefault();
      event.stopPropagation();
      tell("A file is still on its way; please send the message when it is there.");
    };
    input.addEventListener("keydown", (event) => {
      if (window.cmw.sends(event)) hold(event);
    }, true);
    input.addEventListener("click", (event) => {
      if (event.target.closest("[data-testid=submit-button]")) hold(event);
    }, true);
  }

  const holdsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("cmw-dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("cmw-dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("cmw-dropping");
    take(event.dataTransfer.files);
  }, true);
  document.addEventListener("paste", (event) => {
    if (take(event.clipboardData?.files ?? [])) event.preventDefault();
  }, true);

  window.cmw.when("#cmw-input", build);
})();
