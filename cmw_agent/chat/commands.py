"""The table of chat commands: what a message that begins with a slash does, in every channel.

No model is asked. Most commands run within a turn (`ChatCommands.run`), so that they are stored like
any other message. Those that end a conversation or delete everything are control commands: a channel
runs them instead of a turn (`run_control_command`), and nothing of them is stored.
"""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cmw_agent.chat.dependencies import place_of
from cmw_agent.chat.turn import Command, CommandReply
from cmw_agent.conversations.export import FORMATS, beginning
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.identity.principals import Principal
from cmw_agent.schedules.recurrence import EXAMPLES
from cmw_agent.schedules.service import KEPT_ONLY, ScheduleService
from cmw_agent.schedules.toolset import LIST, NAMES
from cmw_agent.tools.composio.accounts import Toolkit
from cmw_agent.tools.composio.connecting import CODE, ConnectionService
from cmw_agent.tools.composio.toolset import NO_COOKIE

FORM = re.compile(r"/([A-Za-z]{1,20})(?:\s+(.*))?", re.DOTALL)
EVERYTHING = "everything"
BEGUN = "This conversation has ended. Your next message begins a new one."
FORGOTTEN = "All of your conversations and files here were deleted for good."
NOTHING = "There was nothing of yours to delete."
SHOWN_TOOLS = 60
MAX_CHARS = 100_000  # of an export as text
STATES: Mapping[str, str] = MappingProxyType(
    {
        "connected": "connected",
        "waiting": "waiting for you to finish",
        "expired": "expired; connect it again",
        "none": "not connected",
    }
)
SAY_STATUS = "Say `/status` when you are done."
SEND_CODE = (
    "At its end you are shown a code. Send it here as `/connect CODE`: nothing is connected before."
)
NO_LINK = "No link can be given here, since the address of this app is not known."
NONE = "No accounts can be connected here."
NO_SCHEDULING = "Nothing can be scheduled here."
HOW_TO_SCHEDULE = (
    f"Write it like `/schedule every day at 9: write me a summary`. Times can be {EXAMPLES}, or "
    "crontab's five fields, each with a place behind it: `every day at 9 in Berlin`.\n\n"
)
WHEN_AND_WHAT = re.compile(r"(.*?):(?!\d\d)(.*)", re.DOTALL)  # not the colon of 8:30


def command_of(text: object) -> Command | None:
    """Return the command that a message is, or None for one that a model should answer.

    A path such as ``/usr/bin`` is none.
    """
    match = FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    return Command(match.group(1).lower(), (match.group(2) or "").strip()) if match else None


@dataclass(frozen=True, slots=True)
class ChatCommands:
    """Runs commands.

    Args:
        history: The owner's conversations, for `/export`.
        connecting: The accounts that users connect; None where none can be.
        built_in: Names of the tools that everybody has.
        schedules: The recurring tasks of users; None where nobody may have any.
    """

    history: ConversationService
    connecting: ConnectionService | None
    built_in: tuple[str, ...]
    schedules: ScheduleService | None = None

    def find(self, text: str) -> Command | None:
        """Return the command that `text` is, if it is one."""
        return command_of(text)

    async def run(self, session: LiveSession, command: Command) -> CommandReply:
        """Return the answer to a command, for the session's own user.

        Raises:
            UserError: The command cannot be carried out.
        """
        spec = COMMANDS.get(command.name)
        if spec is not None:
            answer = await spec.run(self, session, command.rest)
            return answer if isinstance(answer, CommandReply) else CommandReply(answer)
        near = difflib.get_close_matches(command.name, COMMANDS, n=1)
        meant = f" Did you mean `/{near[0]}`?" if near else ""
        text = f"There is no command `/{command.name}`.{meant} `/help` lists them all."
        return CommandReply(text)

    async def help(self, session: LiveSession, rest: str) -> str:
        """List the commands that can be used here."""
        hidden = set() if self.connecting is not None else {"connect", "disconnect", "status"}
        hidden |= set() if self.schedules is not None else {"schedule"}
        lines = [f"- `{c.usage}`: {c.help}" for name, c in COMMANDS.items() if name not in hidden]
        return "You can write to me as you like, or use one of these:\n\n" + "\n".join(lines)

    async def connect(self, session: LiveSession, name: str) -> str | CommandReply:
        """Offer a link that connects an account, or confirm a connection by its code."""
        if self.connecting is None:
            return NONE
        user = _user(session)
        if not name or name.lower() == "list":
            return await self.status(session, "")
        if CODE.fullmatch(name.strip().lower()):
            return await self._confirm(session, name.strip().lower())
        toolkit = await self._named(user, name)
        place = session.place
        if place is None:
            return NO_LINK
        link = await self.connecting.offer(user, place, toolkit.slug)
        last = SAY_STATUS if place.description is None else SEND_CODE
        text = f"Connect {toolkit.name} at this address. {last}"
        return CommandReply(text, toolkit.slug, link)

    async def _confirm(self, session: LiveSession, code: str) -> str:
        if self.connecting is None:
            return NONE
        toolkit = await self.connecting.confirm(session.principal, code)
        return f"{(await self._named(session.principal, toolkit)).name} is connected."

    async def disconnect(self, session: LiveSession, name: str) -> str:
        """Delete the user's connection to a toolkit."""
        if self.connecting is None:
            return NONE
        user = _user(session)
        toolkit = await self._named(user, name)
        gone = await self.connecting.disconnect(user, toolkit.slug)
        return f"{toolkit.name} {'is disconnected' if gone else 'was not connected'}."

    async def status(self, session: LiveSession, name: str) -> str:
        """Say which accounts are connected: all of them, or the named one."""
        if self.connecting is None:
            return NONE
        user = _user(session)
        toolkits = await self.connecting.toolkits(user)
        if name:
            toolkits = [await self._named(user, name)]
        return "\n".join(f"- **{item.name}** (`{item.slug}`): {_state(item)}" for item in toolkits)

    async def tools(self, session: LiveSession, rest: str) -> str:
        """List the tools that the agent can use for this user."""
        lines = [f"- `{name}`" for name in self.built_in]
        if self.schedules is not None and session.principal.may_schedule:
            lines += [f"- `{n}`{'' if n == LIST else ' (asks you first)'}" for n in NAMES]
        if self.connecting is not None and session.principal.is_kept:
            toolkits = await self.connecting.toolkits(_user(session))
            for tool in await self.connecting.tools([item.slug for item in toolkits]):
                asks = ", asks you first" if tool.changes else ""
                lines.append(f"- `{tool.name}` ({tool.toolkit}{asks})")
        more = f"\n- … and {len(lines) - SHOWN_TOOLS} more" if len(lines) > SHOWN_TOOLS else ""
        return "I can use these:\n\n" + "\n".join(lines[:SHOWN_TOOLS]) + more

    async def schedule(self, session: LiveSession, rest: str) -> str:
        """Add, list or cancel the user's recurring tasks."""
        schedules, conversation = self.schedules, session.conversation_id
        if schedules is None or conversation is None:
            return NO_SCHEDULING
        if not session.principal.may_schedule:
            return NO_SCHEDULING if session.principal.is_kept else KEPT_ONLY
        action, _, which = rest.partition(" ")
        if not rest:
            return HOW_TO_SCHEDULE + await schedules.overview(session.owner)
        if action.lower() == "list":
            return await schedules.overview(session.owner)
        if action.lower() == "cancel":
            return await schedules.cancel(session.owner, which)
        match = WHEN_AND_WHAT.fullmatch(rest)
        when, task = match.groups() if match is not None else (rest, "")
        return await schedules.add(session.owner, place_of(session, conversation), when, task)

    async def new(self, session: LiveSession, rest: str) -> str:
        """Say how a conversation begins where no channel ran the control command."""
        return "A new conversation begins with a session of its own here."

    async def export(self, session: LiveSession, rest: str) -> str:
        """Give the conversation as Markdown; on the page, links that save it."""
        conversation = session.conversation_id or ""
        if session.channel == "web":
            links = [
                f"[{name}](history/export?id={conversation}&format={ending})"
                for ending, name in (("md", "Markdown"), ("json", "JSON"), ("html", "HTML"))
            ]
            return f"Save this conversation as {', '.join(links[:-1])} or {links[-1]}."
        stored = await self.history.conversation(session.principal, conversation)
        pages = self.history.messages(session.principal, conversation)
        return await beginning(FORMATS["md"], stored, pages, MAX_CHARS)

    async def forget(self, session: LiveSession, rest: str) -> str:
        """Ask for the control command that deletes everything."""
        return (
            "This deletes **all** of your conversations and files for good. "
            f"Write `/forget {EVERYTHING}` if you are sure."
        )

    async def _named(self, user: Principal, name: str) -> Toolkit:
        toolkits = await self.connecting.toolkits(user) if self.connecting is not None else []
        wanted = name.strip().lower()
        for item in toolkits:
            if wanted in (item.slug, item.name.lower()):
                return item
        slugs = [item.slug for item in toolkits]
        near = difflib.get_close_matches(wanted, slugs, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UserError(
            f"There is no app of that name.{meant} These can be connected: {', '.join(slugs)}.",
            status=404,
        )


Run = Callable[[ChatCommands, LiveSession, str], Awaitable[str | CommandReply]]
BeginNew = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ControlReply:
    """What a control command did: its answer, and how many conversations it deleted, if any."""

    text: str
    deleted: int | None = None


Control = Callable[[ConversationService, Principal, BeginNew], Awaitable[ControlReply]]


async def _begin_new(_: ConversationService, __: Principal, begin_new: BeginNew) -> ControlReply:
    await begin_new()
    return ControlReply(BEGUN)


async def _forget_everything(
    history: ConversationService, principal: Principal, _: BeginNew
) -> ControlReply:
    count = await history.forget(principal)
    return ControlReply(FORGOTTEN if count else NOTHING, count)


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A row of the command table.

    Args:
        usage: How the command is written.
        help: What it is for.
        run: Answers it within a turn.
        control: Carries it out instead of a turn; None where a turn does.
        argument: What must stand behind the name for `control`; None for anything.
    """

    usage: str
    help: str
    run: Run
    control: Control | None = None
    argument: str | None = None


COMMANDS: Mapping[str, CommandSpec] = MappingProxyType(
    {
        "help": CommandSpec("/help", "what you can write here", ChatCommands.help),
        "connect": CommandSpec(
            "/connect NAME",
            "connect an account of yours; `/connect list` names them",
            ChatCommands.connect,
        ),
        "disconnect": CommandSpec(
            "/disconnect NAME", "disconnect it again", ChatCommands.disconnect
        ),
        "status": CommandSpec("/status [NAME]", "what is connected", ChatCommands.status),
        "tools": CommandSpec("/tools", "what I can use for you", ChatCommands.tools),
        "schedule": CommandSpec(
            "/schedule WHEN: TASK",
            "have a task done regularly; also `/schedule list` and `/schedule cancel NUMBER`",
            ChatCommands.schedule,
        ),
        "new": CommandSpec("/new", "begin a new conversation", ChatCommands.new, _begin_new),
        "export": CommandSpec("/export", "save this conversation", ChatCommands.export),
        "forget": CommandSpec(
            "/forget",
            "delete all of your conversations",
            ChatCommands.forget,
            _forget_everything,
            EVERYTHING,
        ),
    }
)


async def run_control_command(
    text: str, history: ConversationService, principal: Principal, begin_new: BeginNew
) -> ControlReply | None:
    """Carry out `text` where it is a control command; repeating it is harmless.

    Args:
        text: A message.
        history: The conversations of all owners.
        principal: Who sent the message, as the server has proved it.
        begin_new: Lets the channel's next message begin a new conversation.

    Returns:
        What was done, or None where a turn is to answer the message.

    Raises:
        UserError: The memory fails.
    """
    command = command_of(text)
    spec = COMMANDS.get(command.name) if command is not None else None
    if command is None or spec is None or spec.control is None:
        return None
    if spec.argument not in (None, command.rest):
        return None
    return await spec.control(history, principal, begin_new)


def _user(session: LiveSession) -> Principal:
    if not session.principal.is_kept:
        raise UserError(NO_COOKIE, status=403)
    return session.principal


def _state(item: Toolkit) -> str:
    return STATES[item.state] if item.needs_account else "needs no account"
