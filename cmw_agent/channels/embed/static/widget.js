/* A chat on any website:  <script src="https://CHAT/widget.js" data-agent="ID" defer></script>
 *
 * Everything is drawn in a closed shadow root with a style sheet of its own, so that neither the
 * page's styles nor its scripts get in by accident; what people and models write becomes text nodes
 * and never markup. Nothing listens for messages of other windows, and no cookie is sent: the
 * visitor is known by a token that the server has signed for this site, kept in its localStorage.
 */
(() => {
  "use strict";
  const script = document.currentScript ?? document.querySelector("script[data-agent][src*='widget.js']");
  const { agent = "assistant", frame = "", site = "", mode, position, color, open: opened } = script.dataset;
  const isPage = mode === "page"; // the chat's own page, for a frame
  const server = new URL(".", script.src).href;
  const KEY = `cmw-agent:${server}:${agent}:${site}`;
  const TAG = "cmw-agent";
  const GAP = 76; // pixels between the buttons of several chats
  const FRAME_MS = 40; // between two drawings of a growing answer
  const TRIES = 4;
  const LONGEST = 5_000; // characters of a paragraph that are looked at for marks
  const others = [...document.querySelectorAll(TAG)];
  if (others.some((other) => other.dataset.key === KEY)) return; // the same line twice

  const WORDS = {
    en: {
      open: "Open the chat", close: "Close the chat", fresh: "New conversation", send: "Send",
      stop: "Stop", box: "Your message", hint: "Write a message…", log: "Conversation",
      thinking: "The answer is being written", you: "You", hello: "How can I help?",
      stopped: "Stopped.", cut: "The answer was cut short.", none: "No answer came.",
      retry: "Try again", again: "The connection was lost; trying again…",
      lost: "The chat cannot be reached right now.", failed: "Something went wrong; please try again.",
      approve: "Approve", deny: "Deny", wants: "wants to run:", approved: "approved", denied: "denied",
      expired: "not answered in time", connect: "Connect your account", begun: "A new conversation has begun.",
    },
    ru: {
      open: "Открыть чат", close: "Закрыть чат", fresh: "Новый разговор", send: "Отправить",
      stop: "Остановить", box: "Ваше сообщение", hint: "Напишите сообщение…", log: "Разговор",
      thinking: "Пишется ответ", you: "Вы", hello: "Чем могу помочь?",
      stopped: "Остановлено.", cut: "Ответ оборвался.", none: "Ответа не было.",
      retry: "Повторить", again: "Связь потеряна, пробуем ещё раз…",
      lost: "Чат сейчас недоступен.", failed: "Что-то пошло не так, попробуйте ещё раз.",
      approve: "Разрешить", deny: "Отклонить", wants: "хочет выполнить:", approved: "разрешено", denied: "отклонено",
      expired: "время вышло", connect: "Подключить аккаунт", begun: "Начат новый разговор.",
      409: "Ещё пишется прошлый ответ, подождите.", 413: "Сообщение слишком длинное.",
      422: "Такое сообщение нельзя отправить.", 429: "Слишком много сообщений, подождите немного.",
      503: "Сервис сейчас занят, попробуйте позже.",
    },
  };
  const language = (script.dataset.lang || (!isPage && document.documentElement.lang) || navigator.language || "en")
    .slice(0, 2).toLowerCase();
  const lang = language in WORDS ? language : "en";
  const words = WORDS[lang];

  /* -- the server -- */

  class Refused extends Error {
    constructor(status, sentence) {
      super(sentence);
      this.status = status;
    }
  }
  class Lost extends Error {}

  let held = null; // where the site may keep nothing
  const kept = {
    get() {
      try { return localStorage.getItem(KEY) ?? held; } catch { return held; }
    },
    set(token) {
      held = token;
      try {
        if (token) localStorage.setItem(KEY, token);
        else localStorage.removeItem(KEY);
      } catch { /* it lasts as long as the page */ }
    },
  };

  let session = null; // the conversation's id
  let visiting = null;

  async function send(path, { method = "POST", body, signal } = {}) {
    const headers = {};
    const token = kept.get();
    if (body) headers["content-type"] = "application/json";
    if (frame) headers["x-cmw-frame"] = frame;
    if (token && path !== "visit") headers.authorization = `Bearer ${token}`;
    try {
      return await fetch(`${server}embed/${encodeURIComponent(agent)}/${path}`, {
        method, headers, signal, body: body && JSON.stringify(body),
        mode: "cors", credentials: "omit", cache: "no-store", redirect: "error",
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Lost(words.lost);
    }
  }

  async function checked(answer) {
    if (answer.ok) return answer;
    let told;
    try { told = (await answer.json()).detail; } catch { /* a proxy's page */ }
    throw new Refused(answer.status, (lang === "en" ? told : words[answer.status]) || words.failed);
  }

  // Two tabs that come at once become one visitor, except where the browser keeps nothing.
  async function alone(work) {
    let isHeld = false;
    try {
      return await navigator.locks.request(KEY, () => {
        isHeld = true;
        return work();
      });
    } catch (error) {
      if (isHeld) throw error;
      return work();
    }
  }

  const visit = (more) => alone(async () => {
    const token = kept.get();
    const answer = await checked(await send("visit", { body: { ...(token && { token }), ...more } }));
    const found = await answer.json();
    kept.set(found.token);
    session = found.session_id;
    view.named(found.agent.name);
  });

  async function known() {
    if (session === null) await (visiting ??= visit().finally(() => { visiting = null; }));
  }

  async function call(path, options) {
    await known();
    const answer = await send(path, options);
    if (answer.status !== 401) return checked(answer);
    await visit(); // the token was too old, or its key is gone
    return checked(await send(path, options));
  }

  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const records = (rest + value).split("\n\n");
      rest = records.pop();
      for (const record of records) {
        const found = /^event: (.*)\ndata: (.*)$/.exec(record);
        if (found) yield [found[1], JSON.parse(found[2])];
      }
    }
  }

  /* -- text: a part of Markdown, each element made here -- */

  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  function link(address, ...children) {
    let url = null;
    try { url = new URL(address); } catch { /* no address */ }
    if (!url || !["http:", "https:"].includes(url.protocol)) return null;
    // Whoever follows one connects an account of theirs to whom it was made for.
    if (url.hostname.replace(/\.$/, "") === "connect.composio.dev") return null;
    return make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, ...children);
  }

  const INLINE = new RegExp([
    /(?<ticks>`+)(?<code>[^`][^]*?)\k<ticks>(?!`)/,
    /!?\[(?<label>[^\]\n]+)\]\(\s*<?(?<address>[^\s<>)]+)>?(?:\s+"[^"\n]*")?\s*\)/,
    /\*\*(?=\S)(?<bold>[^]*?\S)\*\*/,
    /(?<mark>\*|(?<!\w)_)(?=[^\s*_])(?<italic>[^*_]*?[^\s*_])\k<mark>(?!\w)/,
    /(?<url>https?:\/\/[^\s<>"'`)\]]*[^\s<>"'`)\].,;:!?*_])/,
  ].map((part) => part.source).join("|"), "g");

  function inline(text, isLinked = false) {
    if (text.length > LONGEST) return [text];
    const nodes = [];
    let end = 0;
    for (const found of text.matchAll(INLINE)) {
      const { code, label, address, bold, italic, url } = found.groups;
      let node = null;
      if (code) node = make("code", {}, code);
      else if (bold) node = make("strong", {}, ...inline(bold, isLinked));
      else if (italic) node = make("em", {}, ...inline(italic, isLinked));
      else if (!isLinked) node = label ? link(address, ...inline(label, true)) : link(url, url);
      nodes.push(text.slice(end, found.index), node ?? found[0]);
      end = found.index + found[0].length;
    }
    nodes.push(text.slice(end));
    return nodes;
  }

  const FENCE = /^ {0,3}(```+|~~~+)/;
  const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+/;
  const HEADING = /^ {0,3}#{1,6}\s+/;
  const QUOTE = /^ {0,3}>\s?/;
  const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;

  // [source, make] of each block; what has not changed since the last drawing is left alone.
  function blocks(text) {
    const lines = text.replace(/\r\n?/g, "\n").split("\n");
    const found = [];
    let at = 0;
    const take = (belongs, element) => {
      const start = at;
      do at += 1; while (at < lines.length && belongs(lines[at]));
      const part = lines.slice(start, at);
      found.push([part.join("\n"), () => element(part)]);
    };
    const plain = (line) => line.trim() && ![FENCE, ITEM, HEADING, QUOTE, RULE].some((form) => form.test(line));
    while (at < lines.length) {
      const line = lines[at];
      const fence = FENCE.exec(line)?.[1];
      if (!line.trim()) at += 1;
      else if (fence) {
        let isOpen = true;
        take((next) => {
          const was = isOpen;
          if (next.trim().startsWith(fence)) isOpen = false;
          return was;
        }, (part) => {
          const code = part.slice(1, isOpen ? undefined : -1).join("\n");
          return make("pre", { tabIndex: 0 }, make("code", {}, code));
        });
      } else if (RULE.test(line)) take(() => false, () => make("hr"));
      else if (HEADING.test(line)) {
        take(() => false, ([one]) => make("p", { className: "heading" }, ...inline(one.replace(HEADING, ""))));
      } else if (QUOTE.test(line)) {
        take((next) => QUOTE.test(next), (part) => make("blockquote", {},
          ...inline(part.map((one) => one.replace(QUOTE, "")).join("\n"))));
      } else if (ITEM.test(line)) {
        const isNumbered = Boolean(ITEM.exec(line)[2]);
        take((next) => ITEM.test(next) ? Boolean(ITEM.exec(next)[2]) === isNumbered || /^\s/.test(next)
          : /^\s+\S/.test(next), (part) => list(part, isNumbered));
      } else take(plain, (part) => make("p", {}, ...inline(part.join("\n"))));
    }
    return found;
  }

  function list(lines, isNumbered) {
    const items = [];
    for (const line of lines) {
      const found = ITEM.exec(line);
      if (found) items.push({ depth: Math.min(found[1].length >> 1, 4), text: line.slice(found[0].length) });
      else items.at(-1).text += `\n${line.trim()}`;
    }
    const first = Number(ITEM.exec(lines[0])[2] ?? 1);
    return make(isNumbered ? "ol" : "ul", isNumbered ? { start: first } : {}, ...items.map((item) => {
      const node = make("li", {}, ...inline(item.text));
      node.style.marginInlineStart = `${item.depth}em`;
      return node;
    }));
  }

  const drawn = new WeakMap();

  function draw(into, text) {
    const next = blocks(text);
    const before = drawn.get(into) ?? [];
    let same = 0;
    while (same < Math.min(before.length, next.length) && before[same] === next[same][0]) same += 1;
    while (into.childNodes.length > same) into.lastChild.remove();
    into.append(...next.slice(same).map(([, made]) => made()));
    drawn.set(into, next.map(([source]) => source));
  }

  /* -- what is seen -- */

  const ICONS = {
    chat: "M4 4h16a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2H9l-5 4v-4a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2z",
    close: "M5 5l14 14M19 5L5 19",
    fresh: "M12 5v14M5 12h14",
    send: "M3 11.5L21 3l-6.5 18-3.5-8z",
    stop: "M5 5h14v14H5z",
  };

  function icon(name) {
    const space = "http://www.w3.org/2000/svg";
    const picture = document.createElementNS(space, "svg");
    const path = document.createElementNS(space, "path");
    for (const [key, value] of [["viewBox", "0 0 24 24"], ["aria-hidden", "true"]]) picture.setAttribute(key, value);
    path.setAttribute("d", ICONS[name]);
    picture.append(path);
    return picture;
  }

  const button = (name, text, act) =>
    make("button", { type: "button", className: `icon ${name}`, title: text, "aria-label": text, onclick: act }, icon(name));

  function look() {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    return sheet;
  }

  // Black or white, whichever can be read on the site's colour.
  function colour(root) {
    if (!color || !CSS.supports("color", color)) return;
    root.style.setProperty("--accent", color);
    root.style.color = color;
    const [r, g, b] = getComputedStyle(root).color.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
    root.style.color = "";
    const light = [r, g, b].map((part) => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
    const luminance = .2126 * light[0] + .7152 * light[1] + .0722 * light[2];
    root.style.setProperty("--on-accent", luminance > .18 ? "#000" : "#fff");
  }

  function build() {
    const title = make("h2", { id: "title", textContent: script.dataset.title || "Chat" });
    const log = make("div", { className: "log", role: "log", tabIndex: 0, "aria-label": words.log, "aria-live": "polite" });
    const asks = make("div", { className: "asks", "aria-live": "polite" });
    const status = make("p", { className: "status", role: "status" });
    const box = make("textarea", { rows: 1, placeholder: words.hint, "aria-label": words.box, enterKeyHint: "send" });
    const sending = make("button", { className: "icon send", title: words.send, "aria-label": words.send }, icon("send"));
    const stopping = button("stop", words.stop, () => running?.abort());
    const form = make("form", {}, box, sending, stopping);
    const head = make("header", {}, title, button("fresh", words.fresh, () => { begin().catch(view.tell); }));
    const panel = make("section", { id: "panel", className: "panel", "aria-labelledby": "title" }, head, log, asks, status, form);
    const root = make("div", { className: `root ${position === "left" ? "left" : "right"}`, lang, dir: "ltr" });
    const bubble = button("chat", words.open, () => (panel.hidden ? show() : hide()));
    bubble.className = "bubble";
    if (isPage) {
      root.classList.add("page");
      panel.setAttribute("role", "main");
      root.append(panel);
    } else {
      bubble.setAttribute("aria-expanded", "false");
      bubble.setAttribute("aria-controls", "panel");
      panel.setAttribute("role", "dialog");
      panel.hidden = true;
      head.append(button("close", words.close, hide));
      root.append(panel, bubble);
    }
    stopping.hidden = true;
    form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      submit();
    });
    box.addEventListener("input", grow);
    root.addEventListener("keydown", (event) => { if (event.key === "Escape" && !isPage && !panel.hidden) hide(); });
    // The page's own keys are not for what is typed here.
    for (const name of ["keydown", "keyup", "keypress"]) root.addEventListener(name, (event) => event.stopPropagation());
    return { root, panel, bubble, title, log, asks, status, box, sending, stopping };
  }

  function grow() {
    const { box } = parts;
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 140)}px`;
  }

  function mount() {
    const host = document.createElement(TAG);
    host.dataset.key = KEY;
    const shadow = host.attachShadow({ mode: "closed", delegatesFocus: false });
    shadow.adoptedStyleSheets = [look()];
    shadow.append(parts.root);
    // Not in the body: what styles, moves or replaces that leaves the chat alone.
    document.documentElement.append(host);
    // In the top layer, where the page's own effects and layers do not reach.
    host.popover = "manual";
    host.showPopover?.();
    const side = position === "left" ? "left" : "right";
    host.dataset.side = side;
    const below = others.filter((other) => other.dataset.side === side).length;
    parts.root.style.setProperty("--up", `${below * GAP}px`);
    colour(parts.root);
    if (isPage) {
      document.documentElement.lang = lang;
      document.title = script.dataset.title;
    }
  }

  const view = {
    named(name) {
      if (!script.dataset.title) parts.title.textContent = name;
    },
    tell(error) {
      parts.status.textContent = typeof error === "string" ? error : error.message || words.failed;
    },
    busy(is) {
      parts.log.setAttribute("aria-busy", String(is));
      if (is && parts.root.getRootNode().activeElement === parts.sending) parts.box.focus();
      if (!is && parts.root.getRootNode().activeElement === parts.stopping) parts.box.focus();
      parts.sending.hidden = is;
      parts.stopping.hidden = !is;
    },
    clear(sentence = words.hello) {
      parts.log.replaceChildren(make("p", { className: "hello", textContent: sentence }));
      parts.asks.replaceChildren();
      parts.status.textContent = "";
    },
    add(node) {
      parts.log.querySelector(".hello")?.remove();
      parts.log.append(node);
      parts.log.scrollTop = parts.log.scrollHeight;
    },
    question(text) {
      view.add(make("div", { className: "said", dir: "auto" }, make("span", { className: "ear", textContent: `${words.you}: ` }), text));
    },
  };

  // Draws, and stays at the end where its reader was.
  function following(change) {
    const { log } = parts;
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
    change();
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }

  class Answer {
    constructor() {
      this.text = "";
      this.steps = new Map();
      this.tools = make("div", { className: "tools" });
      this.body = make("div", { className: "text", dir: "auto" });
      this.dots = make("p", { className: "dots", role: "img", "aria-label": words.thinking }, make("i"), make("i"), make("i"));
      this.sources = make("ol", { className: "sources" });
      this.foot = make("p", { className: "foot" });
      this.row = make("article", { className: "answer" }, this.tools, this.body, this.sources, this.dots, this.foot);
      view.add(this.row);
    }

    begin() { // also once more, when an answer is told again
      clearTimeout(this.timer);
      this.timer = null;
      this.text = "";
      this.steps.clear();
      this.tools.replaceChildren();
      this.sources.replaceChildren();
      this.foot.replaceChildren();
      this.dots.hidden = false;
      this.isBegun = true;
      this.draw();
    }

    add(text) {
      this.text += text;
      this.timer ??= setTimeout(() => { this.timer = null; this.draw(); }, FRAME_MS);
    }

    replace(text) { // the rest was the model's thoughts
      this.text = text;
      this.draw();
    }

    cite(sources) {
      following(() => this.sources.append(...sources.map(({ url, title }) =>
        make("li", {}, link(url, title || url) ?? (title || "?")))));
    }

    draw() {
      following(() => draw(this.body, this.text));
    }

    step({ call: id, name, ok, seconds, link: address, answer }) {
      const line = this.steps.get(id) ?? make("p", { className: "step" });
      this.steps.set(id, line);
      const mark = ok === undefined ? "…" : ok ? "✓" : "✗";
      const took = seconds >= .1 ? ` · ${seconds.toFixed(1)} s` : "";
      line.textContent = `${mark} ${name}${took}${answer ? ` · ${words[answer]}` : ""}`;
      following(() => {
        this.tools.append(line);
        const opening = address && link(address, words.connect);
        if (!opening) return;
        opening.className = "connect";
        line.after(opening);
      });
    }

    end(note, again) {
      clearTimeout(this.timer);
      this.timer = null;
      following(() => {
        draw(this.body, this.text);
        this.dots.hidden = true;
        this.foot.replaceChildren();
        if (note) this.foot.append(note, " ");
        if (again) this.foot.append(make("button", { type: "button", className: "retry", textContent: words.retry, onclick: again }));
      });
    }
  }

  // Above the box and never in the conversation, where a model could draw one like it.
  async function asking(id, tries = TRIES) {
    const found = await (await call("messages", { method: "GET" })).json();
    const asked = found.waiting.find((one) => one.call === id);
    if (!asked) {
      if (tries) setTimeout(() => { asking(id, tries - 1).catch(view.tell); }, 400);
      return;
    }
    const settle = async (answer) => {
      card.querySelectorAll("button").forEach((one) => { one.disabled = true; });
      try {
        await call("approvals", { body: { call: id, answer } });
      } catch (error) {
        view.tell(error);
      }
      card.remove();
      parts.box.focus();
    };
    const act = (className, text, answer) =>
      make("button", { type: "button", className, textContent: text, onclick: () => settle(answer) });
    const said = `${asked.name} ${words.wants}`;
    const card = make("div", { className: "ask", role: "group", "aria-label": said },
      make("p", {}, make("strong", {}, asked.name), ` ${words.wants}`),
      make("pre", { tabIndex: 0, textContent: asked.arguments }),
      act("yes", words.approve, "approved"), act("no", words.deny, "denied"));
    card.dataset.call = id;
    if ([...parts.asks.children].some((other) => other.dataset.call === id)) return;
    parts.asks.append(card);
  }

  function answered(id) {
    for (const card of parts.asks.children) if (card.dataset.call === id) card.remove();
  }

  /* -- one answer, from the asking to the end -- */

  let running = null; // stops the answer that is being written
  const names = () => [...crypto.getRandomValues(new Uint8Array(16))].map((part) => part.toString(16).padStart(2, "0")).join("");
  const pause = (ms, signal) => new Promise((done, failed) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); failed(signal.reason); });
  });

  async function ask(body, answer) {
    const control = running = new AbortController();
    view.busy(true);
    view.tell("");
    try {
      await insist(body, answer, control.signal);
    } catch (error) {
      if (control.signal.aborted) answer.end(words.stopped);
      else if (body.follow && error.status === 404) answer.end(words.cut, refill); // another tab follows it
      else answer.end(error.message || words.failed, () => retry(body, answer));
    } finally {
      if (running === control) {
        running = null;
        view.busy(false);
        parts.asks.replaceChildren();
      }
    }
  }

  // The same key each time: what the server has had once it answers once.
  async function insist(body, answer, signal) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await attempt(answer.waits ? { follow: true } : body, answer, signal);
      } catch (error) {
        const isPassing = error instanceof Lost || error.status === 409;
        if (signal.aborted || !isPassing || tries > TRIES) throw error;
        if (error instanceof Lost) view.tell(words.again);
        await pause(350 * 2 ** tries, signal);
      }
    }
  }

  async function attempt(body, answer, signal) {
    const response = await call("message", { body, signal });
    view.tell("");
    if (response.headers.get("content-type")?.startsWith("application/json")) {
      const { left, session_id } = await response.json();
      session = session_id;
      return view.clear(left);
    }
    try {
      for await (const [name, told] of events(response)) {
        if (name === "started") {
          session = told.session_id;
          answer.begin();
        } else if (name === "delta") answer.add(told.text);
        else if (name === "replaced") answer.replace(told.response);
        else if (name === "sources") answer.cite(told.sources);
        else if (name === "tool" || name === "tool_done") answer.step(told);
        else if (name === "approval") {
          answer.waits = true;
          asking(told.call).catch(view.tell);
        } else if (name === "approval_done") {
          answer.waits = false;
          answered(told.call);
        } else if (name === "done" || name === "error") return settled(name, told, answer);
      }
    } catch (error) {
      if (signal.aborted || error instanceof Refused) throw error;
    }
    throw new Lost(words.lost);
  }

  function settled(name, told, answer) {
    if (name === "error") {
      answer.end(lang === "en" ? told.detail : words.failed, () => again(answer));
    } else if (told.metadata.status === "complete") {
      answer.end(told.metadata.notice);
    } else {
      answer.end((lang === "en" && told.metadata.notice) || words.cut, () => again(answer));
    }
  }

  const retry = (body, answer) => {
    if (running) return;
    answer.end();
    answer.dots.hidden = false;
    ask(body, answer);
  };
  const again = (answer) => retry({ again: true, key: names() }, answer);

  async function submit() {
    const { box } = parts;
    const text = box.value;
    if (!text.trim() || running) return;
    box.value = "";
    grow();
    const control = running = new AbortController();
    view.busy(true);
    await fill(); // what was said before stands above
    if (running === control) running = null;
    if (running || control.signal.aborted) { // an older answer goes on, or it was stopped
      view.busy(Boolean(running));
      box.value = text;
      return;
    }
    for (const old of parts.log.querySelectorAll(".retry")) old.remove();
    view.question(text);
    ask({ message: text, key: names() }, new Answer());
  }

  /* -- opening, beginning anew, forgetting -- */

  let loaded = null;

  async function load() {
    const found = await (await call("messages", { method: "GET" })).json();
    session = found.session_id;
    view.clear();
    let last = null;
    for (const message of found.messages) {
      last?.end(last.note);
      last = null;
      if (message.role === "user") view.question(message.content);
      else {
        last = new Answer();
        last.text = message.content;
        message.tools.forEach((tool, number) => last.step({ ...tool, call: number }));
        last.cite(message.sources);
        last.isWhole = message.status === "complete";
        last.note = (lang === "en" || last.isWhole) && message.notice ? message.notice
          : last.isWhole ? "" : message.status === "failed" ? words.none : words.cut;
      }
    }
    if (found.waiting.length) ask({ follow: true }, last ?? new Answer());
    else last?.end(last.note, !last.isWhole && (() => again(last)));
    parts.log.scrollTop = parts.log.scrollHeight;
  }

  const fill = () => loaded ??= load().catch((error) => {
    loaded = null;
    view.clear("");
    view.add(make("p", { className: "foot" }, `${error.message} `,
      make("button", { type: "button", className: "retry", textContent: words.retry, onclick: refill })));
    if (error instanceof Lost) console.warn(`CMW Agent: no answer from ${server}; is ${location.origin} an origin of its agent "${agent}"?`);
  });

  const refill = () => {
    loaded = null;
    fill();
  };

  function show() {
    parts.panel.hidden = false;
    parts.root.classList.add("is-open");
    parts.bubble.setAttribute("aria-expanded", "true");
    parts.bubble.setAttribute("aria-label", words.close);
    parts.box.focus();
    fill();
  }

  function hide() {
    if (isPage) return;
    parts.panel.hidden = true;
    parts.root.classList.remove("is-open");
    parts.bubble.setAttribute("aria-expanded", "false");
    parts.bubble.setAttribute("aria-label", words.open);
    parts.bubble.focus();
  }

  async function halt() {
    running?.abort();
    running = null;
    view.busy(false);
    await loaded;
    running?.abort();
    running = null;
  }

  async function begin() {
    await halt();
    await visit({ new: true });
    view.clear();
    view.tell(words.begun);
    if (!parts.panel.hidden) parts.box.focus();
    return session;
  }

  async function clear() {
    await halt();
    if (kept.get()) await call("messages", { method: "DELETE" });
    kept.set(null);
    session = null;
    view.clear();
  }

  const STYLE = `
:host { all: initial !important; display: block !important; position: static !important; }
* { box-sizing: border-box; }
[hidden] { display: none !important; }
.root { --accent: #0f766e; --on-accent: #fff; --back: #fff; --soft: #f1f4f7; --ink: #17202b;
  --pale: #566171; --line: #d5dce4; --ring: #2563eb; --bad: #b42318;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  color-scheme: light dark; text-align: start; -webkit-text-size-adjust: 100%; }
@media (prefers-color-scheme: dark) { .root { --back: #141a22; --soft: #202833; --ink: #e9eef4;
  --pale: #a6b1c0; --line: #38434f; --ring: #7cacff; --bad: #ff9d92; } }
button, textarea { font: inherit; color: inherit; margin: 0; }
button { cursor: pointer; border: 0; border-radius: 8px; }
:focus-visible { outline: 2px solid var(--ring); outline-offset: 2px; }
svg { width: 22px; height: 22px; display: block; fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linecap: round; stroke-linejoin: round; pointer-events: none; }
.bubble { position: fixed; bottom: calc(16px + var(--up) + env(safe-area-inset-bottom)); z-index: 2147483000;
  width: 56px; height: 56px; border-radius: 50%; display: grid; place-items: center;
  background: var(--accent); color: var(--on-accent); box-shadow: 0 4px 16px rgb(0 0 0 / .3); }
.bubble svg { width: 26px; height: 26px; }
.right .bubble, .right .panel { right: 16px; } .left .bubble, .left .panel { left: 16px; }
.panel { position: fixed; bottom: calc(84px + var(--up)); z-index: 2147483001; width: 384px;
  height: min(620px, calc(100dvh - 100px - var(--up))); max-width: calc(100vw - 32px);
  display: flex; flex-direction: column; background: var(--back); border: 1px solid var(--line);
  border-radius: 14px; overflow: hidden; box-shadow: 0 12px 40px rgb(0 0 0 / .28); animation: rise .16s ease-out; }
@keyframes rise { from { opacity: 0; transform: translateY(8px); } }
.page .panel { position: fixed; inset: 0; width: auto; height: auto; max-width: none; border: 0; border-radius: 0;
  box-shadow: none; animation: none; padding-inline: max(0px, calc(50vw - 400px)); }
header { display: flex; align-items: center; gap: 4px; padding: 8px 8px 8px 14px; border-bottom: 1px solid var(--line); }
h2 { flex: 1; margin: 0; font-size: 16px; line-height: 1.4; font-weight: 650; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.icon { width: 40px; height: 40px; flex: none; display: grid; place-items: center; background: none; color: var(--pale); }
.icon:hover { background: var(--soft); color: var(--ink); }
.log { flex: 1; min-height: 0; overflow-y: auto; overscroll-behavior: contain; padding: 14px; display: flex;
  flex-direction: column; gap: 12px; outline-offset: -3px; }
.log > :first-child { margin-top: auto; }
.hello { color: var(--pale); text-align: center; margin: auto; }
.said, .text, .step, .foot { overflow-wrap: anywhere; white-space: pre-wrap; }
.said { align-self: flex-end; max-width: 85%; padding: 8px 12px; border-radius: 14px 14px 4px 14px;
  background: var(--accent); color: var(--on-accent); }
.ear { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.answer { max-width: 100%; min-width: 0; }
.text > * { margin: 0 0 .6em; } .text > :last-child { margin-bottom: 0; }
.text ul, .text ol { padding-inline-start: 1.5em; } .text .heading { font-weight: 650; }
.text blockquote { border-inline-start: 3px solid var(--line); padding-inline-start: .7em; color: var(--pale); }
.text hr { border: 0; border-top: 1px solid var(--line); }
a { color: inherit; text-underline-offset: 2px; } strong { font-weight: 650; } em { font-style: italic; }
code, pre { font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; background: var(--soft); border-radius: 5px; }
code { padding: .1em .3em; }
pre { padding: 8px 10px; margin: 0; overflow-x: auto; white-space: pre; } pre code { padding: 0; }
.step { margin: 0 0 4px; font-size: 13px; color: var(--pale); }
.connect { display: inline-block; margin: 2px 0 8px; padding: 6px 12px; border-radius: 8px; text-decoration: none;
  background: var(--accent); color: var(--on-accent); }
.sources { margin: 6px 0 0; padding-inline-start: 1.5em; font-size: 13px; color: var(--pale); overflow-wrap: anywhere; }
.sources:empty { display: none; }
.foot { margin: 4px 0 0; font-size: 13px; color: var(--pale); } .foot:empty { display: none; }
.retry { background: none; text-decoration: underline; padding: 4px; color: var(--ink); }
.dots { display: flex; gap: 4px; margin: 6px 0; padding: 0; }
.dots i { width: 7px; height: 7px; border-radius: 50%; background: var(--pale); animation: blink 1.2s infinite both; }
.dots i:nth-child(2) { animation-delay: .2s; } .dots i:nth-child(3) { animation-delay: .4s; }
@keyframes blink { 0%, 80%, 100% { opacity: .25; } 40% { opacity: 1; } }
.asks { max-height: 45%; overflow-y: auto; }
.ask { margin: 0 12px 10px; padding: 10px 12px; border: 2px solid var(--accent); border-radius: 10px; }
.ask p { margin: 0 0 6px; overflow-wrap: anywhere; }
.ask pre { white-space: pre-wrap; overflow-wrap: anywhere; margin-bottom: 8px; }
.ask button { padding: 7px 16px; margin-inline-end: 8px; } .ask .yes { background: var(--accent); color: var(--on-accent); }
.ask .no { background: var(--soft); }
.status { margin: 0 14px; font-size: 13px; color: var(--pale); } .status:not(:empty) { margin-bottom: 6px; }
form { display: flex; align-items: flex-end; gap: 4px; margin: 0; padding: 8px; border-top: 1px solid var(--line); }
textarea { flex: 1; min-width: 0; resize: none; border: 1px solid var(--pale); border-radius: 10px; padding: 8px 10px;
  background: var(--back); max-height: 140px; font-size: 16px; line-height: 1.4; }
textarea:focus-visible { outline-offset: -1px; }
textarea::placeholder { color: var(--pale); opacity: 1; }
.send { color: var(--accent); } .send svg { fill: currentColor; }
@media (prefers-color-scheme: dark) { .send { color: var(--ink); } }
.stop svg { fill: currentColor; }
@media (max-width: 480px) {
  .root .panel { inset: 0; width: auto; height: 100dvh; max-width: none; border: 0; border-radius: 0; }
  .root.is-open .bubble { display: none; } }
@media (prefers-reduced-motion: reduce) { .panel, .dots i { animation: none; } .dots i { opacity: .6; } }
@media (forced-colors: active) { .bubble, .said, .panel { border: 1px solid; } }
@media print { .root { display: none; } }`;

  const parts = build();
  view.clear();
  mount();
  if (isPage || opened === "true") show();

  const api = Object.freeze({
    /** The id of the visitor's conversation at this site. */
    getSessionId: async () => { await known(); return session; },
    /** Ends the conversation and returns the id of the next. */
    createNewSession: begin,
    /** Deletes everything of this visitor for good; the next message comes from a new one. */
    clearSession: clear,
    open: show,
    close: hide,
  });
  if (!Object.hasOwn(window, "CMWAgent")) {
    Object.defineProperty(window, "CMWAgent", { value: api, enumerable: true });
  }
})();
