"""Renders the page that asks whether a visitor's conversations move to the account."""

from collections.abc import Sequence
from datetime import UTC
from html import escape

from cmw_agent.language import Language, wording
from memory.conversations.transfer import Holdings, Listed

STYLE = """
:root { color-scheme: light dark; --ground: #f8fafc; --card: #ffffff; --text: #0f172a;
  --quiet: #526075; --line: #dbe2ea; --accent: #0f766e; --accent-hover: #115e59;
  --note: color-mix(in srgb, #e08a00 13%, transparent); }
@media (prefers-color-scheme: dark) { :root { --ground: #020617; --card: #0f172a; --text: #e6ebf2;
  --quiet: #9aa8bb; --line: #27344a; --accent: #0f766e; --accent-hover: #0d9488; } }
* { box-sizing: border-box; }
body { margin: 0; padding: clamp(1rem, 7vh, 5rem) 1rem 2rem; background: var(--ground);
  color: var(--text); font: 16px/1.5 ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 36rem; margin: 0 auto; padding: clamp(1.1rem, 4vw, 2rem); background: var(--card);
  border: 1px solid var(--line); border-radius: 1.1rem; box-shadow: 0 2px 12px rgb(0 0 0 / 6%); }
h1 { font-size: 1.45rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: .82rem; font-weight: 600; color: var(--quiet); margin: 1.3rem 0 .4rem; }
p { margin: 0 0 .6rem; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; }
.chats { border: 1px solid var(--line); border-radius: .75rem; max-height: 17rem; overflow-y: auto; }
.chats:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.chats li { display: flex; gap: .9rem; justify-content: space-between; align-items: baseline;
  padding: .5rem .85rem; }
.chats li + li { border-top: 1px solid var(--line); }
.chats bdi { min-width: 0; overflow-wrap: anywhere; }
time, .more { color: var(--quiet); font-size: .84rem; }
time { flex: none; font-variant-numeric: tabular-nums; }
.facts { margin-top: .9rem; font-size: .92rem; }
.facts li { padding: .12rem 0 .12rem 1.15rem; position: relative; }
.facts li::before { content: "•"; position: absolute; left: .2rem; color: var(--quiet); }
.choices { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.4rem 0 .7rem; }
button { font: inherit; font-weight: 600; padding: .55rem 1.15rem; border-radius: .75rem;
  cursor: pointer; border: 1px solid var(--line); background: transparent; color: inherit; }
button:hover { border-color: var(--quiet); }
.move { background: var(--accent); border-color: var(--accent); color: #fff; }
.move:hover { background: var(--accent-hover); border-color: var(--accent-hover); }
button:disabled { opacity: .55; cursor: default; }
button:focus-visible, a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.hint { font-size: .86rem; color: var(--quiet); }
a { color: inherit; text-underline-offset: .18em; }
[role=alert]:not(:empty), noscript p { background: var(--note); border-radius: .6rem;
  padding: .5rem .8rem; }
@media (max-width: 30rem) { .choices button { flex: 1 1 100%; }
  .chats li { flex-direction: column; gap: 0; } }
"""
TITLE = wording("Move your chats to your account?")
HEADING = wording("Move these chats to your account?")
SIGNING_IN = wording("You are signing in now.")
MOVE = wording("Move these to my account")
LEAVE = wording("Leave them")
NEEDS_SCRIPT = wording("Please switch JavaScript on to choose.")
CANCEL = wording("Cancel the sign-in")
# The script shows these.
FAILED = wording("That did not work; please try again.")
AGAIN = wording("Show the list again")
UNREACHABLE = wording("The server cannot be reached right now; please try again.")
INTRODUCTION = wording(
    "Somebody has chatted in this browser without being signed in: you, or somebody else. "
    "Nothing of that is part of your account yet. Move it there only if you recognise it as yours."
)
PERMISSIONS = wording("Permissions to run tools without asking never move; you are asked again.")
HINT = wording(
    "What you leave stays with the visitor who wrote it, and cannot be opened in this browser "
    "after you have signed in."
)


def consent_page(
    holdings: Holdings, connected: Sequence[str], name: str | None, home: str, language: Language
) -> str:
    """Return the HTML document of the consent page; its one script is ``consent.js``.

    Args:
        holdings: The visitor's data.
        connected: What the page calls the visitor's connected accounts and MCP servers.
        name: The account's user name, as the provider gave it.
        home: The path of the chat.
        language: The reader's language.
    """

    def t(text: str) -> str:
        return escape(language.translate(text))

    signing_in = t(SIGNING_IN)
    if name:
        as_name = escape(language.gettext("You are signing in as {name}."))
        signing_in = as_name.replace("{name}", f"<strong><bdi>{escape(name)}</bdi></strong>")
    home_path = escape(home, quote=True)
    facts = "".join(f"<li>{escape(fact)}</li>" for fact in _facts(holdings, connected, language))
    return (
        f'<!doctype html><html lang="{language.tag}" dir="{language.direction}"><head>'
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><title>{t(TITLE)}</title>'
        '<link rel="icon" href="data:,">'  # or the browser asks the root of the host for one
        f'<style>{STYLE}</style><script src="{home_path}consent.js" defer></script></head><body>'
        f'<main data-shown="{holdings.digest}" data-failed="{t(FAILED)}" data-again="{t(AGAIN)}" '
        f'data-unreachable="{t(UNREACHABLE)}"><h1>{t(HEADING)}</h1>'
        f"<p>{signing_in} {t(INTRODUCTION)}</p>"
        f"{_chats(holdings, language)}"
        f'<ul class="facts">{facts}</ul>'
        # Its script enables the buttons: a click before it has come would be lost.
        '<div class="choices"><button type="button" disabled class="move" data-choice="move">'
        f'{t(MOVE)}</button><button type="button" disabled data-choice="leave">'
        f'{t(LEAVE)}</button></div><p class="hint">{t(HINT)}</p>'
        f'<p role="alert"></p><noscript><p>{t(NEEDS_SCRIPT)}</p></noscript>'
        f'<p class="hint"><a href="{home_path}">{t(CANCEL)}</a></p></main></body></html>'
    )


def _chats(holdings: Holdings, language: Language) -> str:
    if not holdings.conversations:
        return ""
    items = "".join(_item(item, language) for item in holdings.newest)
    heading = language.ngettext(
        "{count} conversation", "{count} conversations", holdings.conversations
    )
    label = escape(language.gettext("Conversations"))
    return (
        f"<h2>{escape(heading)}</h2>"
        f'<ul class="chats" tabindex="0" aria-label="{label}">{items}{_older(holdings, language)}</ul>'
    )


def _item(item: Listed, language: Language) -> str:
    moment = item.last_activity_at
    shown = escape(language.datetime(moment, UTC))
    return (
        f'<li><bdi>{escape(item.title)}</bdi><time datetime="{moment.isoformat()}">'
        f"{shown} UTC</time></li>"
    )


def _older(holdings: Holdings, language: Language) -> str:
    older = holdings.conversations - len(holdings.newest)
    if not older:
        return ""
    text = language.ngettext(
        "and {count} older conversation", "and {count} older conversations", older
    )
    return f'<li class="more">{escape(text)}</li>'


def _facts(holdings: Holdings, connected: Sequence[str], language: Language) -> list[str]:
    facts = []
    if holdings.files:
        facts.append(
            language.ngettext(
                "{count} file would move too.", "{count} files would move too.", holdings.files
            )
        )
    if holdings.prompts:
        facts.append(
            language.ngettext(
                "{count} saved prompt would move too.",
                "{count} saved prompts would move too.",
                holdings.prompts,
            )
        )
    if holdings.shares:
        facts.append(
            language.ngettext(
                "{count} link to shared copies of these chats would move too, and stay open.",
                "{count} links to shared copies of these chats would move too, and stay open.",
                holdings.shares,
            )
        )
    if holdings.tasks:
        facts.append(
            language.ngettext(
                "{count} recurring task will not move: if you move the chats, it ends.",
                "{count} recurring tasks will not move: if you move the chats, they end.",
                holdings.tasks,
            )
        )
    if connected:
        fact = language.ngettext(
            "{count} connection would move too: {names}. What your account has connected itself "
            "goes on being used.",
            "{count} connections would move too: {names}. What your account has connected itself "
            "goes on being used.",
            len(connected),
            names=", ".join(connected),
        )
        facts.append(fact)
    return [*facts, language.translate(PERMISSIONS)]
