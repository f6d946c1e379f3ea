/* The line below the chat: tokens and money of the last answer, of this chat and of today. */
(() => {
  "use strict";
  const { make, ask, conversation } = window.cmw;
  const number = new Intl.NumberFormat("en");
  const before = window.cmw.refresh;
  let line;
  let asked = 0; // answers to older questions are dropped

  function show(used) {
    let unit = " tokens"; // the first number says what is counted
    const part = (name, { tokens, cost }) => {
      const said = [tokens ? `${number.format(tokens)}${unit}` : "", cost ?? ""].filter(Boolean);
      if (tokens) unit = "";
      return said.length ? `${name} ${said.join(", ")}` : "";
    };
    const parts = used
      ? [part("this answer", used.answer), part("this chat", used.conversation), part("today", used.today)]
      : [];
    const text = parts.filter(Boolean).join(" · ");
    line.textContent = text.charAt(0).toUpperCase() + text.slice(1);
    line.hidden = !text;
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
