/* Versions of messages: below each message which of its versions is shown, and buttons that show
 * another one; below each answer buttons that answer again and that fork the conversation there.
 *
 * The server says which messages the page shows. Gradio draws one row for each, the newest last.
 */
(() => {
  "use strict";
  const { ask, make } = window.cmw;
  const ROWS = "#cmw-chat .message-row:is(.user-row, .bot-row)";
  let chat;
  let path = []; // the shown messages, oldest first: seq, role, versions
  let current = null; // the conversation that `path` is of
  let chosen = ""; // the seq of the message that is to be answered again
  let written = ""; // in the editor of a message
  let asked = 0;

  // Gradio asks for it when the hidden button is pressed.
  window.cmw.chosenMessage = () => chosen;

  // An edit was not made: Gradio has closed its editor, and the text goes into the message box.
  function keep(edited) {
    const texts = [edited, window.cmw.box()?.value ?? ""].filter((text) => text.trim());
    written = "";
    if (texts.length) window.cmw.drafts.fill(texts.join("\n\n"));
  }

  window.cmw.unedited = (shown) => {
    const edited = written;
    window.cmw.idle(shown);
    keep(edited);
  };

  document.addEventListener("cmw:unsent", ({ detail: { change } }) => {
    if (change?.previous_value === undefined) return;
    keep(change.value);
    say(new Error("The edit could not be sent. Its text is in the message box."));
    if (!window.cmw.isLost()) press("cmw-redraw"); // Gradio shows it as if it were made
  });

  document.addEventListener("input", ({ target }) => {
    if (target.matches?.("#cmw-chat .edit-textarea")) written = target.value;
  });

  function say(error) {
    line.textContent = error.message;
    line.hidden = false;
  }

  const line = make("p", { className: "cmw-versions-error", role: "alert", hidden: true });

  function press(id) {
    document.querySelector(`#${id}`)?.click();
  }

  // While a request runs, no other one begins.
  function action(label, text, run) {
    const button = make("button", { type: "button", ariaLabel: label, title: label }, text);
    button.addEventListener("click", async () => {
      if (window.cmw.running()) return;
      button.disabled = true;
      line.hidden = true;
      try {
        await run();
      } catch (error) {
        say(error);
      } finally {
        button.disabled = false;
      }
    });
    return button;
  }

  async function show(seq) {
    await ask("history/select", { id: current, seq });
    press("cmw-redraw");
    await load();
  }

  async function fork(seq) {
    const { id } = await ask("history/fork", { id: current, seq });
    const url = new URL(location.href);
    url.searchParams.set("c", id);
    window.cmw.go(url.href);
  }

  async function again(seq) {
    chosen = String(seq);
    press("cmw-again");
  }

  function parts({ seq, role, versions }, question) {
    const index = versions.indexOf(seq);
    const found = [];
    if (versions.length > 1) {
      const name = role === "user" ? "message" : "answer";
      const before = action(`Previous version of the ${name}`, "‹", () => show(versions[index - 1]));
      const after = action(`Next version of the ${name}`, "›", () => show(versions[index + 1]));
      before.disabled = index === 0;
      after.disabled = index === versions.length - 1;
      const count = make("span", {}, `${index + 1}/${versions.length}`);
      count.setAttribute("aria-label", `Version ${index + 1} of ${versions.length}`);
      found.push(before, count, after);
    }
    if (role === "assistant") {
      const isLast = seq === path.at(-1).seq; // Gradio has a button there
      if (question && !isLast) found.push(action("Retry this answer", "Retry", () => again(question.seq)));
      found.push(action("Fork from here", "Fork", () => fork(seq)));
    }
    return found;
  }

  // From the end: the page may not show the beginning, and the roles take turns.
  function draw() {
    const isIdle = !window.cmw.running() && current === window.cmw.conversation();
    if (!isIdle && !chat.querySelector(".cmw-versions")) return; // an answer is being written
    const rows = [...document.querySelectorAll(ROWS)];
    rows.reverse().forEach((row, distance) => {
      const message = isIdle ? path.at(-1 - distance) : undefined;
      const role = row.classList.contains("user-row") ? "user" : "assistant";
      const fits = message && message.role === role;
      const mark = fits ? `${message.seq} ${message.versions} ${distance}` : "";
      const present = row.nextElementSibling?.matches(".cmw-versions") ? row.nextElementSibling : null;
      if ((present?.dataset.mark ?? "") === mark) return;
      present?.remove();
      if (!fits) return;
      const found = parts(message, path.at(-2 - distance));
      if (!found.length) return;
      const group = make("div", { className: `cmw-versions ${role}`, role: "group" }, ...found);
      group.setAttribute("aria-label", role === "user" ? "Versions of the message" : "The answer");
      group.dataset.mark = mark;
      row.after(group);
    });
  }

  async function load() {
    const id = window.cmw.conversation();
    const number = ++asked;
    let messages = [];
    try {
      if (id) ({ messages } = await ask(`history/versions?id=${encodeURIComponent(id)}`));
    } catch { /* a conversation that is not stored, or of nobody, has no versions */ }
    if (number !== asked) return;
    [path, current] = [messages, id];
    if (chat) draw();
  }

  document.addEventListener("cmw:opened", load);
  document.addEventListener("cmw:named", load); // a new conversation has its id
  // The answer of a conversation that the page has left tells nothing of the one that it goes to.
  document.addEventListener("cmw:idle", () => { if (!window.cmw.isLeft()) load(); });

  window.cmw.when("#cmw-chat", (found) => {
    chat = found;
    chat.after(line);
    new MutationObserver(draw).observe(chat, { childList: true, subtree: true });
    draw(); // what is not there yet is asked for once the page knows that its conversation is there
  });
})();
