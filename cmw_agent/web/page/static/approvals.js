/* Questions before a tool runs: a card for each call that waits, directly above the box.
 *
 * The cards come from the server alone and stand outside of the conversation, where no text of a
 * model can draw them. Their buttons and fields bear no id: a label or a form in a message could
 * otherwise press them.
 */
(() => {
  "use strict";
  const { make, ask, conversation, t, tn } = window.cmw;
  const AGAIN_MS = 1_000; // a step may be drawn before its call waits
  const TRIES = 5;
  const NOTE_MS = 15_000;
  const LONG = 60; // characters of a text that gets more than one line
  const cards = new Map(); // call → { card, until }
  let panel, place, status, note, shownFor;
  let marks = ""; // the steps of the answer that wait, as the pane tells them
  let tries = 0;
  let asked = 0; // answers to older questions are dropped

  const tell = (text) => { status.textContent = text; }; // for the ear alone

  function explain(text) {
    note.textContent = text;
    note.hidden = !text;
    clearTimeout(explain.timer);
    explain.timer = setTimeout(() => { note.hidden = true; }, NOTE_MS);
  }

  function isTyping() {
    const at = document.activeElement;
    return Boolean(at?.isContentEditable || (at?.matches("input, textarea, select") && at.value));
  }

  /* -- the arguments -- */

  function grow(area) {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  }

  // `json()` gives the field's value as JSON text, or throws; what was left as it came stays exact.
  function field(name, value, text, number) {
    const isText = typeof value === "string";
    const short = isText && value.length <= LONG && !/[\r\n]/.test(value);
    const input = make(short ? "input" : "textarea", { value: isText ? value : text, spellcheck: isText });
    if (!short) input.rows = 1;
    const error = make("span", { className: "cmw-field-error", id: `cmw-field-error-${number}`, hidden: true });
    const before = input.value;
    input.addEventListener("input", () => {
      if (!short) grow(input);
      input.removeAttribute("aria-invalid");
      error.hidden = true;
    });
    const json = () => {
      if (input.value === before) return isText ? JSON.stringify(value) : text;
      if (isText) return JSON.stringify(input.value);
      JSON.parse(input.value);
      return input.value;
    };
    const refuse = () => {
      error.textContent = t("This must be JSON, such as 12, true, \"text\" or [1, 2].");
      error.hidden = false;
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", error.id);
      input.focus();
    };
    const row = make("div", { className: "cmw-field" }, make("label", {}, make("span", {}, name), input), error);
    return { row, input, json, refuse, isChanged: () => input.value !== before, name, short };
  }

  // The arguments as JSON text, "null" where they were left as they came; undefined where a field
  // is no JSON.
  function written(fields) {
    const pairs = [];
    let refused = null;
    for (const one of fields) {
      try { pairs.push(`${JSON.stringify(one.name)}:${one.json()}`); } catch { refused ??= one; }
    }
    if (refused) return void refused.refuse();
    return fields.some((one) => one.isChanged()) ? `{${pairs.join(",")}}` : "null";
  }

  /* -- one card -- */

  let numbers = 0;

  // An agent's question to its user: its text is shown, and its answer alone can be written.
  const isQuestion = ({ name, arguments: given }) =>
    name === "question" && typeof given.question === "string" && typeof given.answer === "string";

  function fieldsOf(item) {
    if (!isQuestion(item)) {
      return Object.entries(item.arguments).map(([key, value]) => field(key, value, item.texts[key], ++numbers));
    }
    const answer = field("answer", item.arguments.answer, item.texts.answer, ++numbers);
    answer.row.querySelector("label > span").textContent = t("Your answer");
    const question = { name: "question", json: () => JSON.stringify(item.arguments.question), isChanged: () => false, short: true,
                       row: make("p", { className: "cmw-question", dir: "auto" }, item.arguments.question) };
    return [question, answer];
  }

  function draw(item, mine) {
    const asks = isQuestion(item);
    const name = asks ? t("The agent asks you") : t("{name} wants to run", { name: item.name });
    const fields = fieldsOf(item);
    const made = {
      call: item.call, name: item.name, conversation: mine, fields, asks,
      until: performance.now() + item.seconds * 1_000,
      heading: make("h2", { tabIndex: -1 }, name),
      left: make("span", { className: "cmw-left" }),
      always: make("input", { type: "checkbox" }),
      buttons: [make("button", { type: "button", className: "cmw-approve" }, asks ? t("Send the answer") : t("Approve")),
                make("button", { type: "button" }, asks ? t("Do not answer") : t("Deny"))],
      error: make("div", { className: "cmw-card-error", role: "alert", hidden: true }),
    };
    ["approved", "denied"].forEach((answer, at) =>
      made.buttons[at].addEventListener("click", () => settle(made, answer)));
    made.card = make("div", { className: "cmw-card", role: "group", "aria-label": name },
      make("div", { className: "cmw-card-head" }, made.heading, made.left),
      ...(item.account ? [make("p", { className: "cmw-account" }, t("With the account {account}", { account: item.account }))] : []),
      ...(fields.length ? fields.map((one) => one.row) : [make("p", {}, t("It takes no arguments."))]),
      ...(asks ? [] : [make("label", { className: "cmw-always" }, made.always, t("Always allow this tool in this chat"))]),
      made.error,
      make("div", { className: "cmw-card-end" }, ...made.buttons));
    return made;
  }

  async function settle(made, answer) {
    const given = answer === "approved" ? written(made.fields) : "null";
    if (given === undefined) return;
    const { conversation: of, call, name } = made;
    const always = answer === "approved" && made.always.checked;
    const said = JSON.stringify({ conversation: of, call, answer, always });
    for (const button of made.buttons) button.disabled = true;
    try {
      await ask("approvals", `${said.slice(0, -1)},"arguments":${given}}`);
      gone(call, { settled: true });
      if (made.asks) tell(answer === "approved" ? t("The agent has your answer.") : t("You did not answer."));
      else tell(answer === "approved" ? t("{name} was approved.", { name }) : t("{name} was denied.", { name }));
    } catch (failure) {
      for (const button of made.buttons) button.disabled = false;
      if (failure.status === 404) {
        gone(call, { settled: true });
        explain(failure.message);
      } else {
        made.error.textContent = failure.message;
        made.error.hidden = false;
      }
    }
  }

  function gone(call, { settled = false } = {}) {
    const found = cards.get(call);
    if (!found) return;
    asked += 1; // an answer on its way may still name it
    // A button that was pressed gives its focus up when it is disabled.
    const at = document.activeElement;
    const hadFocus = found.card.contains(at) || (settled && at === document.body);
    cards.delete(call);
    found.card.remove();
    panel.hidden = !cards.size;
    if (hadFocus) (cards.values().next().value?.heading ?? place.querySelector("textarea"))?.focus();
  }

  function clear() {
    asked += 1;
    cards.clear();
    panel.querySelectorAll(".cmw-card").forEach((card) => card.remove());
    panel.hidden = true;
    tell("");
    note.hidden = true;
  }

  function count() {
    for (const [call, found] of [...cards]) {
      const seconds = Math.max(0, (found.until - performance.now()) / 1_000);
      const minutes = Math.ceil(seconds / 60);
      found.left.textContent = seconds < 60 ? t("waits less than a minute")
        : tn("waits {count} more minute", "waits {count} more minutes", minutes);
      if (seconds) continue;
      gone(call);
      explain(t("Nobody answered in time, so {name} was not run.", { name: found.name }));
    }
  }

  /* -- what waits -- */

  async function refresh() {
    const mine = ++asked;
    const current = conversation();
    if (!current) return clear();
    let waiting;
    try {
      ({ waiting } = await ask(`approvals?c=${encodeURIComponent(current)}`));
    } catch (error) {
      if (mine === asked) explain(error.message);
      return;
    }
    if (mine !== asked || current !== conversation()) return;
    const calls = new Set(waiting.map((item) => item.call));
    for (const call of [...cards.keys()]) if (!calls.has(call)) gone(call);
    show(waiting.filter((item) => !cards.has(item.call)), current);
    if (marks && !waiting.length && ++tries < TRIES) setTimeout(() => { if (marks) refresh(); }, AGAIN_MS);
  }

  function show(items, current) {
    shownFor = current;
    const first = !cards.size;
    for (const item of items) {
      const made = draw(item, current);
      cards.set(item.call, made);
      panel.append(made.card);
    }
    panel.hidden = !cards.size;
    count();
    for (const { fields } of cards.values()) for (const one of fields) if (!one.short) grow(one.input);
    if (!items.length) return;
    note.hidden = true;
    tell(items.map(({ name }) => t("{name} wants to run and waits for your approval.", { name })).join(" "));
    if (first && !isTyping()) cards.values().next().value.heading.focus();
  }

  function leave() {
    if (cards.size && shownFor !== conversation()) clear();
  }

  document.addEventListener("cmw:asked", ({ detail }) => {
    leave();
    marks = detail;
    tries = 0;
    if (marks || cards.size) refresh();
  });
  for (const event of ["leaving", "opened", "named"]) {
    document.addEventListener(`cmw:${event}`, () => {
      leave();
      if (marks && event === "named") refresh(); // a step may be drawn before its conversation has an id
    });
  }

  window.cmw.when("#cmw-input", (input) => {
    place = input;
    status = make("div", { className: "sr-only", role: "status" });
    note = make("div", { className: "cmw-status cmw-note", role: "status", hidden: true });
    panel = make("section", { id: "cmw-approvals", "aria-label": t("Approvals"), hidden: true });
    input.before(status, note, panel);
    setInterval(count, 1_000);
    if (conversation()) refresh();
  });
})();
