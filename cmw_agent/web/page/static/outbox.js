/* Messages on their way: each is stored in the browser, with its key, until the server has it.
 *
 * A message goes into the outbox when it leaves the box, and out of it when a receipt says that it
 * is stored. What is sent again, after a lost connection or because the server could not take it,
 * has the same key, and is answered once. While an answer is written, further ones wait here, and each
 * until its files are uploaded. The message that is on its way stands in the conversation already.
 */
(() => {
  "use strict";
  const { make, store, drafts, box, t, tn } = window.cmw;
  const MOST = 20; // messages that wait in one conversation
  const DEAF_MS = 500; // after a message was sent, before Stop can be pressed
  const FIRST_MS = 1_000;
  const LONGEST_MS = 30_000;
  const SOON_SECONDS = 120; // for so long a message waits for a limit by itself; then it goes back into the box
  const LABEL = 80; // characters of a message in the list
  const UNSTORED = t("This browser stores nothing: please keep this page open until your message was sent.");
  let list, status, elsewhere;
  let isStored = true; // the browser has stored what waits
  let isReady = false; // the page shows its conversation
  let opened = 0; // how often it has opened or left one
  let isHeld = false; // a message was refused: those behind it wait for its user
  let sending = null; // the message that is on its way
  let posted = null; // the last that was
  let next = null; // runs once that message has reached the server, or failed to
  let attempts = 0; // of the first message, without success
  let reason = ""; // why it was not taken
  let notBefore = 0;
  let timer = 0;
  let isClosed = () => false; // whether an item's tab is closed, once that is known

  const here = store.chat;
  const all = () => store.read("outbox");
  const isMine = (item) => item.conversation === here()
    && (item.conversation || item.tab === store.tab() || isClosed(item));
  const waiting = () => all().filter(isMine);

  // Files alone are a message, too.
  const hasContent = () => Boolean(box()?.value.trim() || window.cmw.hasFiles?.());
  const enableSend = () => document.body.classList.toggle("cmw-has-text", hasContent());

  function write(items) { isStored = store.write("outbox", items); }

  // The files of a message that are still being uploaded.
  const pending = (item) => item.files.filter(({ id }) => !id);
  // Another open tab uploads the files of a message, and sends it.
  const isOfOtherTab = (item) => pending(item).length > 0 && item.tab !== store.tab() && !isClosed(item);
  const isOnItsWay = (item) => sending?.key === item.key && !attempts && !window.cmw.isLost();

  const remove = (key) => write(all().filter((item) => item.key !== key));

  /* -- what the user sees -- */

  function tell(text) {
    if (!status) return;
    status.textContent = text;
    status.hidden = !text;
  }

  function entry(item) {
    const text = item.text.trim() || t("(no text)");
    const label = text.length > LABEL ? `${text.slice(0, LABEL)}…` : text;
    const files = item.files.length ? ` ${tn("({count} file)", "({count} files)", item.files.length)}` : "";
    const back = make("button", {
      type: "button", "aria-label": t("Take back “{text}”", { text: label }), title: t("Take back into the box"),
    }, "×");
    back.addEventListener("click", () => takeBack(item));
    return make("li", { className: "cmw-chip", title: text }, make("span", {}, label + files), back);
  }

  function summary(items) {
    const count = items.length;
    if (window.cmw.isLost()) {
      return tn("{count} message waits for the connection.", "{count} messages wait for the connection.", count);
    }
    const files = pending(items[0]).length;
    if (files && !isHeld) {
      const of = { files: tn("{count} file", "{count} files", files) };
      return tn("{count} message waits for {files}.", "{count} messages wait for {files}.", count, of);
    }
    if (isHeld) return tn("{count} message waits until you send again.", "{count} messages wait until you send again.", count);
    if (window.cmw.running() && !sending) {
      return tn("{count} message waits for the end of the answer.", "{count} messages wait for the end of the answer.", count);
    }
    const waits = tn("{count} message waits to be sent again by itself.", "{count} messages wait to be sent again by itself.", count);
    return `${waits} ${reason}`.trim();
  }

  function show() {
    if (!list) return;
    const items = waiting().filter((item) => !isOnItsWay(item));
    list.replaceChildren(...items.map(entry));
    list.hidden = !items.length;
    tell(items.length ? `${summary(items)}${isStored ? "" : ` ${UNSTORED}`}` : "");
    showElsewhere();
    enableSend();
  }

  // What was not sent before its page was closed or left is sent where its conversation is opened.
  function showElsewhere() {
    const others = all().filter((item) => !isMine(item) && (item.tab === store.tab() || isClosed(item)));
    elsewhere.hidden = !others.length;
    if (!others.length) return;
    const [{ conversation: of }] = others;
    elsewhere.replaceChildren(t("A message in another chat was not sent yet."), " ",
      make("a", { href: of ? `?c=${encodeURIComponent(of)}` : "./" }, t("Open it to send it")));
  }

  /* -- into the outbox, and back -- */

  function add() {
    const input = box();
    const text = input.value;
    if (window.cmw.hasFailedFile?.()) return;
    if (!hasContent()) {
      if (!window.cmw.running()) window.cmw.notice(t("The message is empty; please write something first."));
      input.focus();
      return;
    }
    if (waiting().length >= MOST) {
      show();
      tell(t("{count} messages wait already; this one stays in the box until one of them was sent.", { count: MOST }));
      return;
    }
    const item = {
      key: window.cmw.messageKey(), conversation: here(), tab: store.tab(), text,
      files: window.cmw.attached?.() ?? [], at: Date.now(),
    };
    // One that was refused and corrected goes before those that wait behind it.
    write(isHeld ? [item, ...all()] : [...all(), item]);
    isHeld = false;
    deafen();
    drafts.clear();
    input.focus();
    show();
    pump();
  }

  // The second click of a double click on Send would land on Stop.
  function deafen() {
    const stop = document.querySelector("#cmw-input [data-testid=stop-button]");
    if (!stop) return;
    stop.disabled = true;
    setTimeout(() => { stop.disabled = false; }, DEAF_MS);
  }

  function intoBox(item) {
    remove(item.key);
    window.cmw.detach?.(item.files);
    drafts.fill([item.text, box().value].filter((text) => text.trim()).join("\n\n"));
  }

  function takeBack(item) {
    if (sending?.key === item.key && !window.cmw.isLost()) {
      tell(t("This message is on its way."));
      return;
    }
    intoBox(item);
    if (!waiting().length) isHeld = false;
    show();
    box().focus();
  }

  /* -- sending -- */

  function wait(milliseconds) {
    clearTimeout(timer);
    notBefore = performance.now() + milliseconds;
    timer = setTimeout(pump, milliseconds);
  }

  function pump() {
    const first = waiting().find((item) => !isOfOtherTab(item));
    if (!first || sending || isHeld || !isReady || window.cmw.running() || window.cmw.isLost()) return;
    if (performance.now() < notBefore) return;
    const missing = pending(first);
    if (missing.length) {
      const lost = missing.find(({ key }) => !window.cmw.isUploading(key));
      if (lost) giveBack(first, lost.name);
      return;
    }
    sending = posted = first;
    if (!attempts) window.cmw.pane?.sent(first);
    window.cmw.busy();
    show();
    document.querySelector("#cmw-post").click();
  }

  // A file of a message was not uploaded, or its upload went with the page that had begun it.
  function giveBack(item, name, sentence = "") {
    intoBox(item);
    isHeld = waiting().length > 0;
    const why = t("The message was not sent, because {name} was not uploaded.", { name });
    window.cmw.notice([why, sentence, t("Its text is in the box again.")].filter(Boolean).join(" "), true);
    show();
  }

  function settle() {
    sending = null;
    if (next) setTimeout(next);
    next = null;
  }

  function explain(sentence) { reason = sentence.replace(/ \([^()]* [0-9a-f]{8}\)$/, ""); }

  function again(seconds, sentence = reason) {
    settle();
    window.cmw.pane?.sent(null);
    explain(sentence);
    wait(Math.max(seconds * 1_000, Math.min(LONGEST_MS, FIRST_MS * 2 ** attempts) * (0.5 + Math.random() / 2)));
    attempts += 1;
    show();
  }

  const isSending = (data) => sending !== null && data[1] === sending.key;

  Object.assign(window.cmw, {
    // Whether an event's message waits for a limit that ends in so many seconds.
    waitsFor: (data, seconds) => isSending(data) && seconds <= SOON_SECONDS,
    // Calls `work` once no message is on its way to the server: a page that went to another chat
    // before would have it stored there.
    whenSent(work) {
      if (sending) next = work;
      else work();
    },
    // The values of the event that sends the first message.
    take: (model) => [
      posted.text, posted.key,
      posted.files.length ? JSON.stringify(posted.files.map(({ id }) => id)) : "",
      window.cmw.choice?.(model) ?? model,
    ],
    // What has become of a message, as the server writes it in cmw_agent/web/page/receipts.py.
    receipt(json) {
      if (!json) return;
      const { key, conversation: id, seconds, sentence } = JSON.parse(json);
      if (seconds !== undefined) {
        if (sending?.key === key) again(seconds, sentence);
        else if (waiting()[0]?.key === key) { // the end of its event came first
          explain(sentence);
          wait(Math.max(seconds * 1_000, notBefore - performance.now()));
          show();
        }
        return;
      }
      if (sending?.key === key) settle();
      attempts = notBefore = 0;
      reason = "";
      window.cmw.filesSent?.(all().find((item) => item.key === key)?.files ?? []);
      const isLeft = window.cmw.isLeft();
      const of = here();
      // The new conversation has an id now, or a command has left for another: those behind follow.
      const follows = (item) => !isLeft && isMine(item) && !store.isTemporary(of)
        && (id ? !of : item.tab === store.tab());
      write(all().filter((item) => item.key !== key)
        .map((item) => (follows(item) ? { ...item, conversation: id ?? "" } : item)));
      if (id && !isLeft) window.cmw.setConversation(id);
      if (id && id !== of && !isLeft) {
        if (!of) drafts.rename(id);
        window.cmw.refresh?.();
        window.cmw.fire("named");
      }
      show();
    },
    // The server has refused an event and said why.
    refused() {
      const item = sending;
      settle();
      window.cmw.pane?.sent(null);
      if (item && all().some(({ key }) => key === item.key)) {
        intoBox(item);
        isHeld = waiting().length > 0;
      }
      window.cmw.idle(null);
      show();
    },
  });

  document.addEventListener("cmw:idle", () => {
    if (sending) again(0); // its event has ended without a receipt
    show();
    pump();
  });
  document.addEventListener("cmw:uploaded", ({ detail: { key, id, note } }) => {
    write(all().map((item) => ({ ...item, files: item.files.map((file) => (file.key === key ? { ...file, id, note, key: undefined } : file)) })));
    show();
    pump();
  });
  document.addEventListener("cmw:upload-failed", ({ detail: { key, name, sentence } }) => {
    const item = waiting().find(({ files }) => files.some((file) => file.key === key));
    if (item) giveBack(item, name, sentence); // that of another chat comes back once its chat is opened
  });
  // An event did not reach the server.
  document.addEventListener("cmw:unsent", ({ detail: { data, seconds, sentence, isBusy } }) => {
    const isMessage = isSending(data);
    if (isMessage) again(seconds, sentence);
    if (isMessage || !isBusy) window.cmw.idle(null); // or another event runs, whose end follows
  });
  document.addEventListener("cmw:lost", () => { isReady = false; show(); });
  document.addEventListener("cmw:leaving", () => {
    opened += 1;
    isReady = isHeld = false;
    attempts = 0;
    reason = "";
    show();
  });
  document.addEventListener("cmw:opened", async () => {
    const mine = ++opened;
    await store.ready;
    isClosed = await store.closedTabs();
    if (mine !== opened) return;
    isReady = !window.cmw.isLost();
    notBefore = 0;
    show();
    pump();
  });
  window.addEventListener("storage", show); // another tab of the same user has sent, or taken back

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#cmw-new, #cmw-temporary");
    if (!button || !sending) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    window.cmw.whenSent(() => button.click());
  }, true);

  function build(input) {
    list = make("ul", { className: "cmw-chips cmw-waiting-messages", "aria-label": t("Messages that wait"), hidden: true });
    status = make("div", { className: "cmw-outbox-status", role: "status", hidden: true });
    elsewhere = make("div", { className: "cmw-outbox-status", role: "note", hidden: true });
    input.before(make("div", { id: "cmw-outbox" }, elsewhere, status, list));
    const hold = (event, work) => { event.preventDefault(); event.stopPropagation(); work?.(); };
    input.addEventListener("keydown", (event) => {
      if (event.target === box() && window.cmw.sends(event)) hold(event, add);
    }, true);
    input.addEventListener("click", (event) => {
      // The second click of a double click finds the box empty, or Stop under it.
      const isSecond = event.detail > 1;
      if (event.target.closest("[data-testid=submit-button]")) hold(event, isSecond && !hasContent() ? null : add);
      else if (isSecond && event.target.closest("[data-testid=stop-button]")) hold(event);
    }, true);
    input.addEventListener("input", enableSend);
    document.addEventListener("cmw:files", enableSend);
  }

  window.cmw.when("#cmw-input", build);
})();
