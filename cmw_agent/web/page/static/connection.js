/* Runs before Gradio's own script: the page's connection to its server.
 *
 * Gradio's script gives up at the first connection that breaks: it handles no event any more, and
 * loads the page again, over whatever stands in the box. So a broken connection ends here, and to
 * Gradio's script the events that it cut have ended without a result. Meanwhile this script asks
 * the server, less and less often, whether it is back, and the page then opens its conversation
 * again in place.
 */
(() => {
  "use strict";
  const { fire } = window.cmw;
  const base = new URL(".", document.baseURI);
  const request = window.fetch;
  const FIRST_MS = 500;
  const LONGEST_MS = 30_000;
  const PROBE_MS = 10_000; // for an answer to "are you back?"
  const TICK_MS = 1_000;
  const IDLE_TICKS = 3; // without an event, before an answer counts as over
  const AWAY = new Set([502, 503, 504]); // the server, or a proxy in front of it, takes nothing now
  const SSE = { headers: { "content-type": "text/event-stream" } };
  const END = "\n\n"; // of a message
  const CLOSED = '"msg":"close_stream"';
  const encoder = new TextEncoder();
  const joined = new Set(); // events of the stream that is open, or about to be
  const joining = new Set(); // requests that join one
  let isLost = false;
  let attempts = 0;
  let timer = 0;
  let back = Promise.resolve();
  let setBack;

  /* -- lost and back -- */

  // Between half of the delay and all of it, or all pages would come back at once.
  const delay = () => Math.min(LONGEST_MS, FIRST_MS * 2 ** attempts) * (0.5 + Math.random() / 2);

  function lose() {
    if (isLost) return;
    isLost = true;
    attempts = 0;
    back = new Promise((resolve) => { setBack = resolve; });
    fire("lost");
    timer = setTimeout(probe, delay());
  }

  async function isThere() {
    try {
      const answer = await request(new URL("readyz", base), {
        cache: "no-store", signal: AbortSignal.timeout(PROBE_MS),
      });
      return answer.ok;
    } catch { return false; }
  }

  async function probe() {
    clearTimeout(timer);
    if (!isLost) return;
    if (!await isThere()) {
      attempts += 1;
      clearTimeout(timer);
      timer = setTimeout(probe, delay());
      return;
    }
    if (!isLost) return;
    isLost = false;
    setBack();
    fire("back");
  }

  window.addEventListener("online", probe);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) probe(); });
  // The browser's network may be gone while a server on this machine is there.
  window.addEventListener("offline", async () => { if (!await isThere()) lose(); });

  /* -- Gradio's requests -- */

  // Gradio takes this for a validation without errors: the event ends and shows no error.
  const nothing = () => Response.json({ detail: [] }, { status: 422 });

  const message = (content) => encoder.encode(`data: ${JSON.stringify(content)}\n\n`);

  // The end of each event that was cut, and of their stream.
  function endings() {
    const ended = [...joined].map((event) => message({
      msg: "process_completed", event_id: event, success: true,
      output: { data: [], is_generating: false },
    }));
    joined.clear();
    return [...ended, message({ msg: "close_stream", event_id: null })];
  }

  async function asked(input, options) {
    const answer = await request(input, options);
    if (!answer.ok) return answer;
    const { event_id: event } = await answer.clone().json();
    joined.add(event);
    window.cmw.tap?.joined(event, JSON.parse(options.body).fn_index);
    return answer;
  }

  async function join(input, options) {
    let answer = null;
    if (!isLost) {
      const asking = asked(input, options);
      joining.add(asking);
      try { answer = await asking; } catch { lose(); } finally { joining.delete(asking); }
    }
    if (answer && !AWAY.has(answer.status)) return answer;
    if (answer && answer.status !== 503) lose();
    const { data = [] } = JSON.parse(options?.body ?? "{}");
    fire("unsent", { data, seconds: Number(answer?.headers.get("retry-after")) || 0, isBusy: joined.size > 0 });
    return nothing();
  }

  // An answer runs in an event: without one, what began it has failed elsewhere.
  let ticks = 0;
  setInterval(() => {
    ticks = window.cmw.running() && !joined.size && !joining.size ? ticks + 1 : 0;
    if (ticks === IDLE_TICKS) window.cmw.idle(null);
  }, TICK_MS);

  const signalOf = (input, options) => options?.signal ?? (input instanceof Request ? input.signal : null);

  // The whole messages of a stream, as they come.
  async function* messages(reader) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const found = (rest + decoder.decode(value, { stream: true })).split(END);
      rest = found.pop();
      if (found.length) yield found;
    }
  }

  // Passes a stream on, without what the pane takes; where it breaks, `endings` follow instead of an error.
  async function* passed(reader, signal) {
    let isWhole = false;
    try {
      for await (const found of messages(reader)) {
        await Promise.allSettled(joining); // the stream may be faster than the answer that names the event
        const left = found.map((text) => (window.cmw.tap ? window.cmw.tap.passed(text) : text)).filter((text) => text !== null);
        isWhole ||= found.some((text) => text.includes(CLOSED));
        if (isWhole) joined.clear();
        if (left.length) yield encoder.encode(left.join(END) + END);
      }
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    if (isWhole) return;
    window.cmw.tap?.close();
    lose();
    yield* endings();
  }

  function bodyOf(generator) {
    return new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await generator.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) { controller.error(error); }
      },
      cancel: () => generator.return(),
    });
  }

  async function events(input, options) {
    const signal = signalOf(input, options);
    let answer = null;
    try { answer = await request(input, options); } catch (error) { if (signal?.aborted) throw error; }
    if (answer?.ok) return new Response(bodyOf(passed(answer.body.getReader(), signal)), SSE);
    if (!answer || answer.status >= 500) lose();
    return new Response(new Blob(endings()).stream(), SSE);
  }

  // To Gradio it never ends. Its end at the server is the first sign of a lost connection.
  function heartbeat(url, signal) {
    async function live(controller) {
      for (;;) {
        try {
          const answer = await request(url, { signal });
          if (!answer.ok && answer.status < 500) return;
          const reader = answer.body.getReader();
          while (!(await reader.read()).done);
        } catch (error) {
          if (signal?.aborted) {
            controller.error(error);
            return;
          }
        }
        lose();
        await back;
      }
    }
    return new Response(new ReadableStream({ start: (controller) => { live(controller); } }), SSE);
  }

  window.fetch = (input, options) => {
    const url = new URL(input instanceof Request ? input.url : String(input), document.baseURI);
    if (url.origin !== base.origin) return request(input, options);
    if (url.pathname.endsWith("/queue/join")) return join(input, options);
    if (url.pathname.endsWith("/queue/data")) return events(input, options);
    if (/\/heartbeat\/[^/]+$/.test(url.pathname)) return Promise.resolve(heartbeat(url, signalOf(input, options)));
    return request(input, options);
  };

  window.cmw.isLost = () => isLost;

  /* -- what the user sees of it -- */

  const NOTICE = "No connection. What you write is kept in this browser, and sent once the connection is back.";
  const QUIET_MS = 1_000; // a shorter break is not shown
  let notice, noticeTimer;

  function showNotice() {
    window.cmw.when("#cmw-input", (input) => {
      notice ??= window.cmw.make("div", { id: "cmw-offline", role: "status" });
      notice.textContent = isLost ? NOTICE : "";
      notice.hidden = !isLost;
      if (!notice.isConnected) (document.querySelector("#cmw-outbox") ?? input).before(notice);
    });
  }

  document.addEventListener("cmw:lost", () => { noticeTimer = setTimeout(showNotice, QUIET_MS); });
  document.addEventListener("cmw:back", () => {
    clearTimeout(noticeTimer);
    if (notice) showNotice();
    document.querySelector("#cmw-reopen")?.click();
  });
})();
