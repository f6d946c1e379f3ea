"""Recognizes links that connect accounts: the app's own, and Composio's, which are never drawn as links.

Whoever follows a link to Composio's site connects their account to the user for whom the link was
made. A model's text may contain a link that was made for another user, so it is shown as plain text.
"""

import re

TICKET_LINK = re.compile(r"connections/connect\?ticket=[A-Za-z0-9_-]{43}")
HOST = "connect.composio.dev"
_REST = r"connect\.composio\.dev[^\s<>()\[\]\"'`]*+"
_ADDRESS = rf"(?:https?:)?[/\\]{{2}}(?:[^\s/\\@<>()\[\]]{{0,200}}@)?({_REST})"
_MARKED = re.compile(rf"!?\[([^\[\]\n]*+)\]\(\s*+<?{_ADDRESS}[^()\n]*+\)", re.IGNORECASE)
_BARE = re.compile(rf"<{_ADDRESS}>|{_ADDRESS}", re.IGNORECASE)


def unlink_composio(text: str) -> str:
    """Return Markdown whose links to Composio's site are plain text: host and path, no scheme."""
    if HOST not in text.lower():
        return text
    text = _MARKED.sub(r"\1 (\2)", text)
    return _BARE.sub(lambda match: match[1] or match[2], text)
