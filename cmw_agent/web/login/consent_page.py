"""Renders the page that asks whether a visitor's conversations move to the account."""

from html import escape

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
INTRODUCTION = (
    "Somebody has chatted in this browser without being signed in: you, or somebody else. "
    "Nothing of that is part of your account yet. Move it there only if you recognise it as yours."
)
PERMISSIONS = "Permissions to run tools without asking never move; you are asked again."
HINT = (
    "What you leave stays with the visitor who wrote it, and cannot be opened in this browser "
    "after you have signed in."
)


def consent_page(holdings: Holdings, name: str | None, home: str) -> str:
    """Return the HTML document of the consent page; its one script is ``consent.js``.

    Args:
        holdings: The visitor's data.
        name: The account's user name, as the provider gave it.
        home: The path of the chat.
    """
    as_name = f"as <strong><bdi>{escape(name)}</bdi></strong>" if name else "now"
    home_path = escape(home, quote=True)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><title>Move your chats to your account?</title>'
        f'<style>{STYLE}</style><script src="{home_path}consent.js" defer></script></head><body>'
        f'<main data-shown="{holdings.digest}"><h1>Move these chats to your account?</h1>'
        f"<p>You are signing in {as_name}. {INTRODUCTION}</p>"
        f"{_chats(holdings)}"
        f'<ul class="facts">{"".join(f"<li>{fact}</li>" for fact in _facts(holdings))}</ul>'
        '<div class="choices"><button type="button" class="move" data-choice="move">'
        'Move these to my account</button><button type="button" data-choice="leave">'
        f'Leave them</button></div><p class="hint">{HINT}</p>'
        f'<p role="alert"></p><noscript><p>Please switch JavaScript on to choose.</p></noscript>'
        f'<p class="hint"><a href="{home_path}">Cancel the sign-in</a></p></main></body></html>'
    )


def _chats(holdings: Holdings) -> str:
    if not holdings.conversations:
        return ""
    items = "".join(_item(item) for item in holdings.newest)
    return (
        f"<h2>{_counted(holdings.conversations, 'conversation')}</h2>"
        f'<ul class="chats" tabindex="0" aria-label="Conversations">{items}{_older(holdings)}</ul>'
    )


def _item(item: Listed) -> str:
    moment = item.last_activity_at
    return (
        f'<li><bdi>{escape(item.title)}</bdi><time datetime="{moment.isoformat()}">'
        f"{moment:%d %b %Y, %H:%M} UTC</time></li>"
    )


def _older(holdings: Holdings) -> str:
    older = holdings.conversations - len(holdings.newest)
    return f'<li class="more">and {_counted(older, "older conversation")}</li>' if older else ""


def _facts(holdings: Holdings) -> list[str]:
    facts = []
    if holdings.files:
        facts.append(f"{_counted(holdings.files, 'file')} would move too.")
    if holdings.shares:
        links = _counted(holdings.shares, "link")
        facts.append(f"{links} to shared copies of these chats would move too, and stay open.")
    if holdings.tasks:
        tasks = (
            f"{_counted(holdings.tasks, 'recurring task')} will not move: if you move the chats, "
        )
        facts.append(tasks + ("it ends." if holdings.tasks == 1 else "they end."))
    return [*facts, PERMISSIONS]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
