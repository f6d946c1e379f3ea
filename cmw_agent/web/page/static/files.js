/* Files in the box: chosen, dropped or pasted; each is uploaded at once and shown as a chip.
 *
 * A message takes the files that `window.cmw.attached()` returns, each with its name and its id, or with
 * the key of its upload while that runs; `cmw:uploaded` and `cmw:upload-failed` say how it ends. A
 * message that comes back into the box gives them back with `window.cmw.detach(files)`. Names are put in
 * as text.
 */
(() => {
  "use strict";
  const { make, ask, store, t, tn } = window.cmw;
  const base = new URL(".", document.baseURI);
  const MOST = 10;
  const PICTURE = /^image\/(?:png|jpeg|gif|webp)$/;
  // Each with its `chip`, `name`, the `chat` that it was attached in, a `key` while this page has its
  // bytes, and an `id` once the server does.
  const entries = new Set();
  let row, status, chooser;
  let shown = null; // the chat whose files the row shows

  function tell(text, action) {
    status.replaceChildren(text, ...(action ? [" ", action] : []));
    status.hidden = !text;
  }

  const chat = () => shown ?? store.chat();
  const isHere = (entry) => !entry.isTaken && entry.chat === chat();
  const here = () => [...entries].filter(isHere);
  const named = ({ id, key, name, isPicture, note }) => (
    { ...(id ? { id } : { key }), name, isPicture, ...(note ? { note } : {}) });

  function refresh() {
    for (const entry of entries) entry.chip.hidden = !isHere(entry);
    row.hidden = !here().length;
    window.cmw.fire("files");
  }

  function show() {
    refresh();
    window.cmw.drafts?.save();
  }

  function drop(entry) {
    entries.delete(entry);
    entry.chip.remove();
    if (entry.url) URL.revokeObjectURL(entry.url);
  }

  function showPicture(entry, blob) {
    entry.url = URL.createObjectURL(blob);
    entry.chip.prepend(make("img", { src: entry.url, alt: "" }));
  }

  function remove(entry) {
    entry.abort?.abort();
    if (entry.id) ask("files/remove", { id: entry.id }).catch(() => { /* one that no message has is deleted later */ });
    drop(entry);
    show();
    window.cmw.box()?.focus();
  }

  // What was cut, left out or guessed of a file.
  function showNote(entry) {
    entry.chip.title = `${entry.name}: ${entry.note}`;
    entry.chip.classList.add("noted");
  }

  function draw(entry) {
    const off = make("button", { type: "button", "aria-label": t("Remove {name}", { name: entry.name }), title: t("Remove") }, "×");
    entry.chip = make("li", { className: "cmw-chip", title: entry.name }, make("span", {}, entry.name), off);
    off.addEventListener("click", () => remove(entry));
    entries.add(entry);
    row.append(entry.chip);
    if (entry.note) showNote(entry);
    show();
  }

  /* -- uploading -- */

  async function send(entry) {
    const progress = make("progress", { "aria-label": t("Uploading {name}", { name: entry.name }), max: 1, value: 0 });
    entry.abort = new AbortController();
    entry.isFailed = false;
    entry.chip.classList.remove("failed");
    entry.chip.querySelector("span").after(progress);
    try {
      const report = (part) => { progress.value = part; };
      const stored = await window.cmw.upload("files", entry.file, report, entry.abort.signal);
      entry.id = stored.id;
      entry.note = stored.note;
      entry.file = null;
      progress.remove();
      arrived(entry);
    } catch (error) {
      progress.remove();
      if (!entry.abort.signal.aborted) failed(entry, error.message);
    }
  }

  function arrived(entry) {
    if (entry.note) showNote(entry);
    if (isHere(entry)) tell(entry.note ? `${entry.name}: ${entry.note}` : "");
    window.cmw.fire("uploaded", entry);
    if (!entry.isTaken && entry.chat !== chat()) { // the page has left its chat meanwhile
      window.cmw.drafts.attach(entry.chat, named(entry));
      drop(entry);
    }
    show();
  }

  function failed(entry, sentence) {
    entry.isFailed = true;
    entry.chip.classList.add("failed");
    const again = make("button", {
      type: "button", className: "cmw-again", "aria-label": t("Upload {name} again", { name: entry.name }),
    }, t("Try again"));
    again.addEventListener("click", () => { again.remove(); tell(""); send(entry); });
    entry.chip.querySelector("span").after(again);
    if (isHere(entry)) tell(`${entry.name}: ${sentence}`);
    window.cmw.fire("upload-failed", { key: entry.key, name: entry.name, sentence });
    show();
  }

  function add(file) {
    if (here().length >= MOST) {
      tell(tn("A message takes at most {count} file.", "A message takes at most {count} files.", MOST));
      return;
    }
    const entry = { key: window.cmw.newKey(), id: null, name: file.name, file, chat: chat(), isPicture: PICTURE.test(file.type) };
    draw(entry);
    if (entry.isPicture) showPicture(entry, file);
    send(entry);
  }

  function take(files) {
    const some = [...files];
    if (some.length && window.cmw.temporaryChat() !== null) {
      tell(t("A temporary chat takes no files, since they would be stored."));
      return;
    }
    if (some.length) tell("");
    for (const file of some) add(file);
  }

  /* -- what other scripts use -- */

  Object.assign(window.cmw, {
    // What is uploaded, and is not sent yet.
    filesHere: () => here().filter(({ id }) => id).map(named),
    hasFiles: () => here().length > 0,
    attach: take,
    // What a message takes with it; its chips go out of sight until it was stored or comes back.
    attached() {
      const taken = here();
      for (const entry of taken) entry.isTaken = true;
      if (taken.length) tell("");
      show();
      return taken.map(named);
    },
    // Whether a file keeps the message from being sent; the page says so.
    hasFailedFile() {
      const found = here().find(({ isFailed }) => isFailed);
      if (found) tell(t("{name} was not uploaded. Try again, or remove it, and send the message then.", { name: found.name }));
      return Boolean(found);
    },
    isUploading: (key) => [...entries].some((entry) => entry.key === key && !entry.isFailed),
    // A message is stored, and its files are its own.
    filesSent(files) {
      for (const { id } of files) for (const entry of entries) if (entry.isTaken && entry.id === id) drop(entry);
    },
    // The page leaves a chat: what is uploaded is in its draft, what is on its way comes to it.
    putAwayFiles() {
      for (const entry of here()) if (entry.id) drop(entry);
      shown = store.chat();
      tell("");
      refresh();
    },
    showFiles(of) {
      shown = of;
      refresh();
    },
    // The new chat has an id now.
    moveFiles(of) {
      for (const entry of entries) if (entry.chat === chat()) entry.chat = of;
      shown = of;
    },
    detach(files) {
      for (const file of files) putBack(file);
      show();
    },
  });

  function putBack(file) {
    const found = [...entries].find(({ id, key }) => (file.id ? id === file.id : key === file.key));
    if (found) Object.assign(found, { isTaken: false, chat: chat() });
    else if (file.id) { // it was attached before the page was loaded, or left the chat
      const entry = { ...file, chat: chat() };
      draw(entry);
      check(entry);
    }
  }

  // A file that no message has is deleted after some time.
  async function check(entry) {
    const method = entry.isPicture ? "GET" : "HEAD";
    const answer = await fetch(new URL(`files/${encodeURIComponent(entry.id)}`, base), { method }).catch(() => null);
    if (answer?.ok && entry.isPicture && entries.has(entry)) showPicture(entry, await answer.blob());
    if (answer?.status !== 404) return;
    drop(entry);
    show();
    tell(t("{name} is not stored any more; please attach it again.", { name: entry.name }));
  }

  /* -- choosing, dropping, pasting -- */

  function build(input) {
    row = make("ul", { className: "cmw-chips", "aria-label": t("Attached files"), hidden: true });
    status = make("div", { className: "cmw-file-status", role: "alert", hidden: true });
    chooser = make("input", { type: "file", multiple: true, hidden: true, tabIndex: -1 });
    chooser.addEventListener("change", () => { take(chooser.files); chooser.value = ""; });
    input.prepend(make("div", { className: "cmw-files" }, status, row, chooser));
    window.cmw.when("#cmw-attach", (button) => button.addEventListener("click", () => chooser.click()));
    document.body.append(make("div", { id: "cmw-drop", "aria-hidden": "true" }, make("p", {}, t("Drop files anywhere to attach them"))));
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
    window.cmw.box()?.focus();
  }, true);
  // A spreadsheet copies its cells as text and as a picture: the text is what is meant. Some systems
  // give the names of copied files as their text.
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    const lines = event.clipboardData.getData("text/plain").split(/\r?\n/).filter((line) => line.trim());
    const names = new Set(files.map(({ name }) => name));
    if (lines.every((line) => names.has(line.split("/").at(-1)))) {
      event.preventDefault();
      take(files);
      return;
    }
    if (event.target !== window.cmw.box()) return;
    const attach = make("button", { type: "button" }, files.length > 1 ? t("Attach the files too") : t("Attach the picture too"));
    attach.addEventListener("click", () => take(files));
    tell(t("The text was pasted without its picture."), attach);
  }, true);

  window.cmw.when("#cmw-input", build);
})();
