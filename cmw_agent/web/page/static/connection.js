/* Runs before Gradio's own script: the page's connection to its server.
 *
 * Gradio's script gives up at the first connection that breaks: it handles no event any more, and
 * loads the page again, over whatever stands in the box. So a broken connection ends here, and to
 * Gradio's script the events that it cut have ended without a result. Meanwhile this script asks
 * the server, less and less often, whether it is back, and the page then opens its conversation
 * again in place.
 *
 * Who goes from one network to another keeps connections through which nothing comes any more, and
 * no error says so. The server is never silent for long, so one that is counts as lost.
 */
(() => {
  "use strict";
  const { fire } = window.cmw;
  const base = new URL(".", document.baseURI);
  const request = window.fetch;
  const FIRST_MS = 500;
  const LONGEST_MS = 30_000;
  const PROBE_MS = 10_000; // for an answer to "are you back?"
  const JOIN_MS = 20_000; // for the answer to an event, which comes before what the event brings
  const TICK_MS = 1_000;
  const SILENT_TICKS = 40; // the server sends something every 15 seconds
  const IDLE_TICKS = 3; // without an event, before an answer counts as over
  const AWAY = new Set([502, 503, 504]); // the server, or a proxy in front of it, takes nothing now
  const SSE = { headers: { "content-type": "text/event-stream" } };
  const END = "\n\n"; // of a message
  const ZONE = "x-cmw-zone"; // in which time zone the user is
  const MODEL_KEY = "x-model-key"; // the user's own key for the model, with events that may ask it
  const CLOSED = '"msg":"close_stream"';
  const CHANGES = "event: changes\ndata: ";
  const encoder = new TextEncoder();
  const joined = new Map(); // events of the stream that is open, or about to be: id → connection
  const joining = new Set(); // requests that join one
  let isLost = false;
  let isBeating = false; // the heartbeat is open, or about to be
  let silence = 0; // ticks since something came; a page that sleeps counts none
  let connection = 0; // how often the page has connected again, which tells the server what is given up
  let life = new AbortController(); // of this connection's requests
  let streams = new AbortController(); // of its event stream
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
    connection += 1;
    streams.abort();
    streams = new AbortController();
    back = new Promise((resolve) => { setBack = resolve; });
    fire("lost");
    timer = setTimeout(probe, delay());
  }

  // Nothing comes any more: the requests that wait would take up the browser's few connections.
  function giveUp() {
    lose();
    life.abort(new Error(window.cmw.t("The connection was lost; please try again.")));
    life = new AbortController();
  }

  async function isThere() {
    const late = new AbortController();
    const timeout = setTimeout(() => late.abort(), PROBE_MS);
    try {
      const answer = await request(new URL("readyz", base), { cache: "no-store", signal: late.signal });
      return answer.ok;
    } catch {
      return false;
    } finally { clearTimeout(timeout); }
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

  const signalOf = (input, options) => options?.signal ?? (input instanceof Request ? input.signal : null);

  // A request of this connection, which ends with it; `own` is a further signal that ends it.
  function send(input, options, own) {
    const signals = [life.signal, own, signalOf(input, options)].filter(Boolean);
    const headers = new Headers(options?.headers ?? (input instanceof Request ? input.headers : undefined));
    headers.set("x-cmw-connection", connection);
    return request(input, { ...options, headers, signal: AbortSignal.any?.(signals) ?? signals.at(-1) });
  }

  /* -- Gradio's requests -- */

  // Gradio takes this for a validation without errors: the event ends and shows no error.
  const nothing = () => Response.json({ detail: [] }, { status: 422 });

  const message = (content) => encoder.encode(`data: ${JSON.stringify(content)}\n\n`);

  // Takes the events of connections up to this one.
  function taken(last) {
    const found = [...joined.keys()].filter((event) => joined.get(event) <= last);
    for (const event of found) joined.delete(event);
    return found;
  }

  // The end of each event that was cut.
  const endings = (last) => taken(last).map((event) => message({
    msg: "process_completed", event_id: event, success: true,
    output: { data: [], is_generating: false },
  }));
  const ending = message({ msg: "close_stream", event_id: null });

  async function asked(input, options, headers) {
    const mine = connection;
    const answer = await send(input, { ...options, headers });
    if (!answer.ok) return answer;
    const { event_id: event } = await answer.clone().json();
    if (mine !== connection) return null;
    joined.set(event, mine);
    window.cmw.tap?.joined(event, JSON.parse(options.body).fn_index);
    return answer;
  }

  async function join(input, options) {
    let answer = null;
    const mine = connection;
    const { data = [] } = JSON.parse(options?.body ?? "{}");
    const headers = new Headers(options?.headers);
    // A browser takes long to find its zone for the first time: the page's opening does not wait for it.
    if (data.length) headers.set(ZONE, window.cmw.preferences.zone());
    const key = data.length ? window.cmw.modelKey?.() : "";
    if (key) headers.set(MODEL_KEY, key);
    const timeout = setTimeout(giveUp, JOIN_MS);
    if (!isLost) {
      const asking = asked(input, options, headers);
      joining.add(asking);
      try { answer = await asking; } catch { if (mine === connection) lose(); } finally { joining.delete(asking); }
    }
    clearTimeout(timeout);
    if (mine !== connection) answer = null;
    const seconds = Number(answer?.headers.get("retry-after")) || 0;
    const isLimited = answer?.status === 429 && window.cmw.waitsFor(data, seconds);
    if (answer && !AWAY.has(answer.status) && !isLimited) return answer;
    if (answer && answer.status !== 503 && !isLimited) lose();
    const { detail } = await answer?.json().catch(() => ({})) ?? {};
    const sentence = typeof detail === "string" ? detail : "";
    fire("unsent", { data, seconds, sentence, isBusy: joined.size > 0 });
    return nothing();
  }

  // An answer runs in an event: without one, what began it has failed elsewhere.
  let ticks = 0;
  setInterval(() => {
    ticks = window.cmw.running() && !joined.size && !joining.size ? ticks + 1 : 0;
    if (ticks === IDLE_TICKS) window.cmw.idle(null);
    silence = isBeating && !isLost ? silence + 1 : 0;
    if (silence === SILENT_TICKS) giveUp();
  }, TICK_MS);

  // The whole messages of a stream, as they come.
  async function* messages(reader) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      silence = 0;
      const found = (rest + decoder.decode(value, { stream: true })).split(END);
      rest = found.pop();
      if (found.length) yield found;
    }
  }

  // Passes a stream on, without what the pane takes; where it breaks, `endings` follow instead of an error.
  async function* passed(reader, signal, mine) {
    let isWhole = false;
    yield* endings(mine - 1); // the server has given them up
    try {
      for await (const found of messages(reader)) {
        await Promise.allSettled(joining); // the stream may be faster than the answer that names the event
        const left = found.map((text) => (window.cmw.tap ? window.cmw.tap.passed(text) : text)).filter((text) => text !== null);
        isWhole ||= found.some((text) => text.includes(CLOSED));
        if (isWhole) taken(mine);
        if (left.length) yield encoder.encode(left.join(END) + END);
      }
    } catch (error) {
      if (signal?.aborted) throw error;
    }
    if (isWhole) return;
    if (mine === connection) {
      window.cmw.tap?.close();
      lose();
    }
    yield* endings(mine);
    yield ending;
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
    const mine = connection;
    let answer = null;
    try { answer = await send(input, options, streams.signal); } catch (error) { if (signal?.aborted) throw error; }
    if (answer?.ok) return new Response(bodyOf(passed(answer.body.getReader(), signal, mine)), SSE);
    if ((!answer || answer.status >= 500) && mine === connection) lose();
    return new Response(new Blob([...endings(mine), ending]).stream(), SSE);
  }

  // What the server tells the page between two beats: changes in its user's conversations.
  async function hear(reader) {
    const decoder = new TextDecoder();
    let tail = "";
    for (;;) {
      silence = 0;
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (tail + decoder.decode(value, { stream: true })).split("\n\n");
      tail = parts.pop();
      for (const part of parts) {
        if (!part.startsWith(CHANGES)) continue;
        for (const change of JSON.parse(part.slice(CHANGES.length))) fire("changed", change);
      }
    }
  }

  // To Gradio it never ends. Its end at the server is the first sign of a lost connection.
  function heartbeat(url, signal) {
    async function live(controller) {
      for (;;) {
        isBeating = true;
        try {
          const answer = await send(url, { signal });
          if (!answer.ok && answer.status < 500) return;
          await hear(answer.body.getReader());
        } catch (error) {
          if (signal?.aborted) {
            controller.error(error);
            return;
          }
        } finally { isBeating = false; }
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
    return send(input, options);
  };

  window.cmw.isLost = () => isLost;
  // Asks the server, after a request that broke off; the connection counts as lost where it does not answer.
  window.cmw.isReachable = async () => {
    if (isLost) return false;
    if (await isThere()) return true;
    lose();
    return false;
  };

  /* -- what the user sees of it -- */

  const NOTICE = window.cmw.t("No connection. What you write is kept in this browser, and sent once the connection is back.");
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
