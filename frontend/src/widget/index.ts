/** A chat on any website:  <script src="https://CHAT/widget.js" data-agent="ID" defer></script>
 *
 * Everything is drawn in a closed shadow root with a style sheet of its own, so that neither the
 * page's styles nor its scripts get in by accident; what people and models write becomes nodes that
 * scripts make themselves, and no markup of theirs. Nothing listens for messages of other windows,
 * and no cookie is sent: the visitor is known by a token that the server has signed for this site,
 * kept in its localStorage.
 */
import { Chat } from "./chat";
import { mount, TAG } from "./mount";
import { languageOf } from "./words";

function start(script: HTMLScriptElement): void {
  const { agent = "assistant", frame = "", site = "", mode, lang = "", title = "", open: isOpen } = script.dataset;
  const isPage = mode === "page"; // the chat's own page, for a frame
  const server = new URL(".", script.src).href;
  const key = `cmw-agent:${server}:${agent}:${site}`;
  const others = [...document.querySelectorAll<HTMLElement>(TAG)];
  if (others.some(({ dataset }) => dataset["key"] === key)) return; // the same line twice
  const language = languageOf(lang || (!isPage && document.documentElement.lang) || navigator.language || "en");
  const chat = new Chat({ server, agent, frame, key }, language, isPage, title);
  mount(chat.panel.root, key, script.dataset, others);
  chat.panel.root.lang = language.tag;
  if (isPage) {
    document.documentElement.lang = language.tag;
    document.title = title;
  }
  if (isPage || isOpen === "true") chat.open();
  offer(chat);
}

function offer(chat: Chat): void {
  const { server } = chat;
  const api = Object.freeze({
    /** The id of the visitor's conversation at this site. */
    getSessionId: async () => { await server.known(); return server.session; },
    /** Ends the conversation and returns the id of the next. */
    createNewSession: () => chat.begin(),
    /** Deletes everything of this visitor for good; the next message comes from a new one. */
    clearSession: () => chat.forget(),
    open: () => chat.open(),
    close: () => chat.close(),
  });
  if (!Object.hasOwn(window, "CMWAgent")) {
    Object.defineProperty(window, "CMWAgent", { value: api, enumerable: true });
  }
}

const script = document.currentScript ?? document.querySelector("script[data-agent][src*='widget.js']");
if (script instanceof HTMLScriptElement) start(script);
