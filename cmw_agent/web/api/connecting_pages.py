"""The pages on the way to a connected account: plain HTML without a script.

What stands in them is the app's own, or what the database has of a link; all of it is escaped.
"""

from html import escape

from starlette.responses import HTMLResponse, Response

from cmw_agent.language import Language, wording

CHANNEL_WARNING = wording(
    "Whoever writes in that chat will be able to use this account of yours. Only go on if that is "
    "you and you asked for this link yourself. If somebody sent it to you, close this tab."
)
GONE = wording(
    "This link does not work here: it was used, is too old, or belongs to another browser. Nothing "
    "was connected. Go back to your own chat and begin there; if that chat stands inside another "
    "page, open it in a tab of its own first."
)
NO_SIGN_IN = wording(
    "No sign-in waits here: it was finished before, took too long, or began in another browser. "
    "Nothing was connected. Go back to your chat and sign in again in the settings, under "
    "Connections; if that chat stands inside another page, open it in a tab of its own first."
)
DONE = wording("You can close this tab and go back to your chat.")
NOT_CONNECTED = wording("Nothing was connected")
SEND_TO_NOBODY = wording(
    "Send it to nobody else: whoever sends it in a chat of theirs can use your account."
)


class ConnectingPages:
    """The pages in one language.

    Args:
        language: The reader's language.
    """

    def __init__(self, language: Language) -> None:
        self._language = language

    def back(self) -> Response:
        """Return the page of a visit that proves nothing: it says nothing of any account."""
        return self._page(wording("Back to the chat"), DONE)

    def gone(self) -> Response:
        """Return the page for a link that this browser may not follow."""
        return self._page(NOT_CONNECTED, GONE, status=404)

    def no_sign_in(self) -> Response:
        """Return the page for a browser that comes back from a sign-in of which nothing is known."""
        return self._page(NOT_CONNECTED, NO_SIGN_IN, status=404)

    def refused(self, sentence: str, status: int) -> Response:
        """Return what went wrong."""
        return self._page(NOT_CONNECTED, sentence, status=status)

    def warning(self, name: str, origin: str, onward: str) -> Response:
        """Return the question before an account is connected to a chat elsewhere."""
        go = self._language.gettext("Go on and connect {name}", name=name)
        link = (
            f'<p><a href="{escape(onward)}" rel="nofollow" style="font-weight: 600">'
            f"{escape(go)}</a></p>"
        )
        sentence = wording(
            "You are about to connect your {name} account to {origin}.", name=name, origin=origin
        )
        title = wording("Connect {name}?", name=name)
        return self._page(title, sentence, CHANNEL_WARNING, more=link)

    def connected(self, name: str) -> Response:
        """Return the page at the end, where the browser itself proves its user."""
        return self._page(wording("{name} is connected", name=name), DONE)

    def confirming(self, name: str, origin: str, code: str) -> Response:
        """Return the page at the end, where the user is yet to prove that the chat is theirs."""
        return self._page(
            wording("One step is left"),
            wording(
                "Your {name} account is not connected yet. To connect it to {origin}, send there:",
                name=name,
                origin=origin,
            ),
            SEND_TO_NOBODY,
            more=f'<p style="font: 600 1.4rem ui-monospace, monospace">/connect {escape(code)}</p>',
        )

    def _page(self, title: str, *paragraphs: str, status: int = 200, more: str = "") -> Response:
        """Return a page; `more` is HTML, all else is text."""
        language = self._language
        heading = escape(language.translate(title))
        paragraph_html = "".join(
            f"<p>{escape(language.translate(text))}</p>" for text in paragraphs
        )
        return HTMLResponse(
            f'<!doctype html><html lang="{language.tag}" dir="{language.direction}">'
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f'<meta name="color-scheme" content="light dark"><title>{heading}</title>'
            '<body style="font: 1.05rem/1.5 system-ui, sans-serif; margin: 15vh auto; padding: 0 1rem; '
            f'max-width: 34rem; text-align: center"><h1 style="font-size: 1.3rem">{heading}</h1>'
            f"{paragraph_html}{more}",
            status,
            {"vary": "accept-language, cookie"},
        )
