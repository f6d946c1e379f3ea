/* Voice input: what is said into the microphone is written down by the server, and put into the box.
 *
 * It is never sent by itself. The button is there where the settings offer it and the browser records.
 */
(() => {
  "use strict";
  const { make, box, store, drafts, t } = window.cmw;
  const LONGEST_MS = 120_000;
  const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
  const REFUSED = t("This page may not use the microphone. Allow it in the browser’s settings for this page, and try again.");
  const NO_MICROPHONE = t("No microphone was found, or another program uses it.");
  const LEFT = t("The recording was ended without being written down, because you went to another chat.");
  let button, status;
  let recording = null; // { recorder, pieces, chat, since, timer, isCancelled }
  let isBusy = false; // asking for the microphone, or waiting for the words

  const isOffered = () => Boolean(navigator.mediaDevices?.getUserMedia && window.MediaRecorder);

  function show() {
    const isOn = recording !== null;
    button.classList.toggle("cmw-recording", isOn);
    button.setAttribute("aria-pressed", String(isOn));
    const name = isOn ? t("Stop recording") : t("Speak");
    button.setAttribute("aria-label", name);
    button.title = name;
    button.toggleAttribute("aria-busy", isBusy);
    const seconds = isOn ? Math.floor((performance.now() - recording.since) / 1_000) : 0;
    const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    const words = isOn ? `● ${time}` : t("Writing it down…");
    status.textContent = isOn || isBusy ? words : "";
    status.hidden = !isOn && !isBusy;
  }

  async function begin() {
    isBusy = true;
    let stream = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
      const recorder = new MediaRecorder(stream, mimeType ? { mimeType } : {});
      const mine = { recorder, pieces: [], chat: store.chat(), since: performance.now(), timer: setInterval(show, 500), isCancelled: false };
      recorder.addEventListener("dataavailable", ({ data }) => { mine.pieces.push(data); });
      recorder.addEventListener("stop", () => ended(mine, stream));
      recorder.start();
      mine.limit = setTimeout(stop, LONGEST_MS);
      recording = mine;
    } catch (error) {
      for (const track of stream?.getTracks() ?? []) track.stop();
      window.cmw.notice(error.name === "NotAllowedError" || error.name === "SecurityError" ? REFUSED : NO_MICROPHONE, true);
    }
    isBusy = false;
    show();
  }

  function stop(isCancelled = false) {
    if (!recording) return;
    recording.isCancelled = isCancelled === true;
    if (recording.recorder.state !== "inactive") recording.recorder.stop();
  }

  async function ended(mine, stream) {
    for (const track of stream.getTracks()) track.stop();
    clearInterval(mine.timer);
    clearTimeout(mine.limit);
    recording = null;
    isBusy = !mine.isCancelled;
    show();
    if (mine.isCancelled) return;
    const type = mine.recorder.mimeType.split(";")[0];
    const file = new File(mine.pieces, "recording", { type });
    try {
      const { text } = await window.cmw.upload("transcriptions", file, () => {}, new AbortController().signal);
      put(mine.chat, text);
    } catch (error) { window.cmw.notice(error.message, true); }
    isBusy = false;
    show();
  }

  // Behind what stands in the box of the chat in which it was said.
  function put(chat, text) {
    if (chat !== store.chat()) {
      drafts.append(chat, text);
      return;
    }
    const input = box();
    const { selectionStart: at, value } = input;
    const before = value.slice(0, at);
    window.cmw.prompts.insert((before && !/\s$/.test(before) ? " " : "") + text);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !recording || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    stop(true);
    box()?.focus();
  }, true);
  document.addEventListener("cmw:leaving", () => {
    if (!recording) return;
    stop(true);
    window.cmw.notice(LEFT, true);
  });

  window.cmw.when("#cmw-input #cmw-voice", (found) => {
    if (!isOffered()) return;
    button = found;
    button.hidden = false;
    status = make("span", { className: "cmw-voice-status", role: "status", hidden: true });
    button.after(status);
    button.addEventListener("click", () => {
      if (recording) stop();
      else if (!isBusy) begin();
    });
  });
})();
