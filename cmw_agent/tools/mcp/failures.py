"""How calls of MCP servers fail, and the error sentence that the model gets."""

from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from cmw_agent.core.errors import UserError
from cmw_agent.tools.mcp.connection import McpConnectionError
from cmw_agent.tools.mcp.listing import McpTool
from cmw_agent.tools.mcp.results import cut
from cmw_agent.tools.mcp.session_slots import TooManySessionsError

MAX_ERROR = 1_000  # characters of a server's own error


class NotSignedInError(Exception):
    """The owner has not signed in at the server."""


FAILURES = (
    McpConnectionError,
    MCPError,
    ValidationError,
    TimeoutError,
    TooManySessionsError,
    NotSignedInError,
    UserError,
)


def sentence_of(error: Exception, tool: McpTool, seconds: float, *, has_oauth: bool) -> str:
    """Return the error sentence that the model gets.

    Args:
        error: One of `FAILURES`.
        tool: The tool that was called.
        seconds: How long it may take.
        has_oauth: Whether users sign in at its server.
    """
    sign_in = f"the user can sign in at {tool.server} in the settings, under Connections."
    if isinstance(error, TimeoutError):
        return f"The tool {tool.name} took longer than {seconds:g} s."
    if isinstance(error, TooManySessionsError):
        return f"Too many users use {tool.server} right now; nothing was done."
    if isinstance(error, UserError):  # of the database, or the server is gone
        return str(error)
    if isinstance(error, MCPError):
        return f"{tool.name} failed: {cut(error.message, MAX_ERROR)}"
    if isinstance(error, ValidationError):
        return f"{tool.name} failed: its answer is malformed."
    if isinstance(error, NotSignedInError):
        return f"Nothing was done: {sign_in}"
    was_sent = isinstance(error, McpConnectionError) and error.was_sent
    done = "whether the call was carried out is not known" if was_sent else "nothing was done"
    sentence = f"The server {tool.server} does not answer; {done}."
    # Its refusal of tokens that are worth nothing any more looks no different.
    return f"{sentence} If that lasts, {sign_in}" if has_oauth else sentence
