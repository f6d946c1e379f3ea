"""Links at which accounts are connected: the app's own, and Composio's, which no text may draw.

Whoever follows a link to Composio's site connects an account of theirs to whom it was made for. A
model's text may hold one that was made for somebody else, so there it is plain text.
"""

import re

TICKET_LINK = re.compile(r"connections/connect\?ticket=[A-Za-z0-9_-]{43}")
HOST = "connect.composio.dev"
_REST = r"connect\.composio\.dev[^\s<>()\[\]\"'`]*+"
_ADDRESS = rf"(?:https?:)?[/\\]{{2}}(?:[^\s/\\@<>()\[\]]{{0,200}}@)?({_REST})"
_MARKED = re.compile(rf"!?\[([^\[\]\n]*+)\]\(\s*+<?{_ADDRESS}[^()\n]*+\)", re.IGNORECASE)
_BARE = re.compile(rf"<{_ADDRESS}>|{_ADDRESS}", re.IGNORECASE)


def plain(text: str) -> str:
    """Return Markdown whose links to Composio's site are plain text: host and path, no scheme."""
    if HOST not in text.lower():
        return text
    text = _MARKED.sub(r"\1 (\2)", text)
    return _BARE.sub(lambda found: found[1] or found[2], text)
