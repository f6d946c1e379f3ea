/* The seconds of what takes long, counted here: how long the model thinks, or says nothing at all.
 *
 * The server draws a step of thoughts once when they begin and once when they end.
 */
(() => {
  "use strict";
  const { make } = window.cmw;
  const MARK = "Thinking…"; // in the title of a step in which the model thinks
  const STEPS = "#cmw-chat .thought-group > .title";
  const SILENT_MS = 10_000; // of silence, before the page says that it waits
  let chat, line;
  let thinks = null; // since when
  let changed = performance.now(); // when the conversation changed last

  function duration(since) {
    const seconds = Math.floor((performance.now() - since) / 1_000);
    return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }

  // The text itself is Gradio's: the seconds stand in an attribute, which the style sheet shows.
  function count() {
    const titles = [...chat.querySelectorAll(STEPS)];
    const thinking = titles.findLast((title) => title.textContent.includes(MARK));
    thinks = thinking ? thinks ?? performance.now() : null;
    for (const title of titles) {
      if (title === thinking) title.dataset.seconds = duration(thinks);
      else delete title.dataset.seconds;
    }
    const isBusy = thinking || titles.some((title) => title.querySelector(".loading-spinner"))
      || document.querySelector("#cmw-approvals:not([hidden])");
    const isSilent = !isBusy && window.cmw.running() && performance.now() - changed >= SILENT_MS;
    line.hidden = !isSilent;
    if (isSilent) line.textContent = `Waiting for the model… ${duration(changed)}`;
  }

  // Gradio's button copies an answer with all of its steps: thoughts are no part of the answer.
  const THOUGHTS = /^💭 (?:Thinking…|Thought for [^\n]*)\n[^]*?\u2063\s*/gmu;
  const clipboard = navigator.clipboard; // none where the page is not served securely
  const write = clipboard?.writeText.bind(clipboard);
  if (write) clipboard.writeText = (text) => write(text.replace(THOUGHTS, ""));

  window.cmw.when("#cmw-input", (input) => {
    line = make("div", { className: "cmw-silence", role: "timer", hidden: true });
    const files = input.previousElementSibling;
    (files?.matches(".cmw-files") ? files : input).before(line);
    window.cmw.when("#cmw-chat", (found) => {
      chat = found;
      new MutationObserver(() => { changed = performance.now(); }).observe(chat, {
        childList: true, subtree: true, characterData: true,
      });
      setInterval(count, 1_000);
    });
  });
})();
