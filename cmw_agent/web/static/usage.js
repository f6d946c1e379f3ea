/* The line below the chat: tokens and money of the last answer, of this chat and of today. */
(() => {
  "use strict";
  const { make, ask, conversation } = window.cmw;
  const number = new Intl.NumberFormat("en");
  const before = window.cmw.refresh;
  let line;
  let asked = 0; // answers to older questions are dropped

  function part(name, { tokens, cost }, unit = "") {
    const said = [tokens ? `${number.format(tokens)}${unit}` : "", cost ?? ""].filter(Boolean);
    return said.length ? `${name} ${said.join(", ")}` : "";
  }

  function show(used) {
    const parts = used
      ? [part("This answer", used.answer, " tokens"), part("this chat", used.conversation), part("today", used.today)]
      : [];
    line.textContent = parts.filter(Boolean).join(" · ");
    line.hidden = !line.textContent;
  }

  async function refresh() {
    const mine = ++asked;
    const current = conversation();
    // What cannot be told is not worth a complaint below each answer.
    const used = current
      ? await ask(`usage?c=${encodeURIComponent(current)}`).catch(() => null) : null;
    if (mine === asked && line) show(used);
  }

  // Called when an answer is done, and when another conversation is shown.
  window.cmw.refresh = (...given) => {
    refresh();
    return before?.(...given);
  };
  window.cmw.when("#cmw-foot .cmw-foot", (foot) => {
    line = make("div", { className: "cmw-usage", hidden: true });
    foot.append(line);
  });
})();
