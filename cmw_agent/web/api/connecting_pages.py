"""The pages on the way to a connected account: plain HTML without a script.

What stands in them is the app's own, or what the database has of a link; all of it is escaped.
"""

from html import escape

from starlette.responses import HTMLResponse, Response

CHANNEL_WARNING = (
    "Whoever writes in that chat will be able to use this account of yours. Only go on if that is "
    "you and you asked for this link yourself. If somebody sent it to you, close this tab."
)
GONE = (
    "This link does not work here: it was used, is too old, or belongs to another browser. Nothing "
    "was connected. Go back to your own chat and begin there; if that chat stands inside another "
    "page, open it in a tab of its own first."
)
DONE = "You can close this tab and go back to your chat."


def page(title: str, *paragraphs: str, status: int = 200, more: str = "") -> Response:
    """Return a page; `more` is HTML, all else is text."""
    paragraph_html = "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    return HTMLResponse(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(title)}</title>'
        '<body style="font: 1.05rem/1.5 system-ui, sans-serif; margin: 15vh auto; padding: 0 1rem; '
        f'max-width: 34rem; text-align: center"><h1 style="font-size: 1.3rem">{escape(title)}</h1>'
        f"{paragraph_html}{more}",
        status,
    )


def back() -> Response:
    """Return the page of a visit that proves nothing: it says nothing of any account."""
    return page("Back to the chat", DONE)


def gone() -> Response:
    """Return the page for a link that this browser may not follow."""
    return page("Nothing was connected", GONE, status=404)


def refused(sentence: str, status: int) -> Response:
    """Return what went wrong."""
    return page("Nothing was connected", sentence, status=status)


def warning(name: str, origin: str, onward: str) -> Response:
    """Return the question before an account is connected to a chat elsewhere."""
    link = (
        f'<p><a href="{escape(onward)}" rel="nofollow" style="font-weight: 600">'
        f"Go on and connect {escape(name)}</a></p>"
    )
    sentence = f"You are about to connect your {name} account to {origin}."
    return page(f"Connect {name}?", sentence, CHANNEL_WARNING, more=link)


def connected(name: str) -> Response:
    """Return the page at the end, where the browser itself proves its user."""
    return page(f"{name} is connected", DONE)


def confirming(name: str, origin: str, code: str) -> Response:
    """Return the page at the end, where the user is yet to prove that the chat is theirs."""
    return page(
        "One step is left",
        f"Your {name} account is not connected yet. To connect it to {origin}, send there:",
        "Send it to nobody else: whoever sends it in a chat of theirs can use your account.",
        more=f'<p style="font: 600 1.4rem ui-monospace, monospace">/connect {escape(code)}</p>',
    )
