"""The two messages that end something outside the page: `/new` and `/forget everything`."""

from cmw_agent.channels.common.callers import Callers
from cmw_agent.chat.commands import EVERYTHING, command_of
from cmw_agent.chat.turn import Command
from cmw_agent.identity.principals import Principal
from cmw_agent.runtime.runtime import Runtime

BEGUN = "This conversation has ended. Your next message begins a new one."
FORGOTTEN = "All of your conversations and files here were deleted for good."
NOTHING = "There was nothing of yours to delete."


async def leave(services: Runtime, callers: Callers, principal: Principal, text: str) -> str | None:
    """Carry out `text` where it ends a conversation or deletes everything of `principal`.

    Whoever calls has proved on the server that it is this principal. Nothing of the command is
    stored, and repeating it is harmless.

    Args:
        services: The live parts of the process.
        callers: Ends the conversation that goes on.
        principal: Whose conversations these are.
        text: A message.

    Returns:
        The sentence that answers the message, or None when it is no such command and a turn is to
        answer it.

    Raises:
        UserError: The memory fails.
    """
    command = command_of(text)
    if command is None:
        return None
    if command.name == "new":
        await callers.begin_anew(principal)
        return BEGUN
    if command == Command("forget", EVERYTHING):
        count = await services.history.forget(principal)
        return FORGOTTEN if count else NOTHING
    return None
