"""The table of chat commands: what a message that begins with a slash does, in every channel.

No model is asked. Most commands run within a turn (`ChatCommands.run`), so that they are stored like
any other message. Those that end a conversation or delete everything are control commands: a channel
runs them instead of a turn (`run_control_command`), and nothing of them is stored.
"""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from cmw_agent.chat.dependencies import schedule_target
from cmw_agent.chat.turn import Command, CommandReply
from cmw_agent.conversations.export import beginning, formats
from cmw_agent.conversations.service import ConversationService
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.store_errors import mapped_store_errors
from cmw_agent.identity.principals import Principal
from cmw_agent.language import Language, Wording, joined, languages, wording
from cmw_agent.schedules.recurrence import EXAMPLES
from cmw_agent.schedules.service import STORED_ONLY, ScheduleService
from cmw_agent.schedules.toolset import LIST, NAMES
from cmw_agent.tools.composio.accounts import Toolkit
from cmw_agent.tools.composio.connecting import CODE, ConnectionService
from cmw_agent.tools.composio.toolset import NO_COOKIE

if TYPE_CHECKING:
    from cmw_agent.tools.mcp.sessions import McpSessions

FORM = re.compile(r"/([^\W\d_]{1,20})(?:\s+(.*))?", re.DOTALL)
EVERYTHING, LIST_WORD, CANCEL_WORD = wording("everything"), wording("list"), wording("cancel")
BEGUN = wording("This conversation has ended. Your next message begins a new one.")
FORGOTTEN = wording("All of your conversations and files here were deleted for good.")
NOTHING = wording("There was nothing of yours to delete.")
SHOWN_TOOLS = 60
MAX_CHARS = 100_000  # of an export as text
STATES: Mapping[str, str] = MappingProxyType(
    {
        "connected": wording("connected"),
        "waiting": wording("waiting for you to finish"),
        "expired": wording("expired; connect it again"),
        "none": wording("not connected"),
    }
)
SAY_STATUS = wording("Say `/status` when you are done.")
SEND_CODE = wording(
    "At its end you are shown a code. Send it here as `/connect CODE`: nothing is connected before."
)
NO_LINK = wording("No link can be given here, since the address of this app is not known.")
NONE = wording("No accounts can be connected here.")
NO_SCHEDULING = wording("Nothing can be scheduled here.")
HOW_TO_SCHEDULE = wording(
    "Write it like `/schedule every day at 9: write me a summary`. Times can be {examples}, or "
    "crontab's five fields, each with a place behind it: `every day at 9 in Berlin`.",
    examples=EXAMPLES,
)
WHEN_AND_WHAT = re.compile(r"(.*?):(?!\d\d)(.*)", re.DOTALL)  # not the colon of 8:30


def command_of(text: object) -> Command | None:
    """Return the command that a message is, or None for one that a model should answer.

    The command has its English name, whatever language it is written in. A path such as
    ``/usr/bin`` is none.
    """
    match = FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        return None
    name = match.group(1).lower()
    return Command(command_names().get(name, name), (match.group(2) or "").strip())


@cache
def command_names() -> Mapping[str, str]:
    """Return the English names of the commands by their names in each language of the app."""
    return MappingProxyType(
        {
            _name(language.translate(spec.usage)): name
            for language in languages().all
            for name, spec in (*COMMANDS.items(), *PHONE_COMMANDS.items())
        }
    )


def matches_wording(text: str, word: Wording) -> bool:
    """Return whether a text is a word of the app's, in any of its languages."""
    written = text.strip().lower().replace("ё", "е")
    return any(
        written == language.translate(word).lower().replace("ё", "е")
        for language in languages().all
    )


def _name(usage: str) -> str:
    """Return the name of a command from how it is written."""
    return usage.split(maxsplit=1)[0].removeprefix("/").lower()


@dataclass(frozen=True, slots=True)
class ChatCommands:
    """Runs commands.

    Args:
        history: The owner's conversations, for `/export`.
        connecting: The accounts that users connect; None where none can be.
        built_in: Names of the tools that everybody has.
        schedules: The recurring tasks of users; None where nobody may have any.
        mcp: The sessions with MCP servers; None where none are configured.
    """

    history: ConversationService
    connecting: ConnectionService | None
    built_in: tuple[str, ...]
    schedules: ScheduleService | None = None
    mcp: "McpSessions | None" = None

    def find(self, text: str) -> Command | None:
        """Return the command that `text` is, if it is one."""
        return command_of(text)

    def available(self) -> "list[CommandSpec]":
        """Return the commands that can be used here."""
        hidden = set() if self.connecting is not None else {"connect", "disconnect", "status"}
        hidden |= set() if self.schedules is not None else {"schedule"}
        return [command for name, command in COMMANDS.items() if name not in hidden]

    async def run(self, session: LiveSession, command: Command) -> CommandReply:
        """Return the answer to a command, for the session's own user.

        Raises:
            UserError: The command cannot be carried out.
        """
        spec = COMMANDS.get(command.name) or PHONE_COMMANDS.get(command.name)
        if spec is not None:
            answer = await spec.run(self, session, command.rest)
            return answer if isinstance(answer, CommandReply) else CommandReply(answer)
        language = session.language
        near = difflib.get_close_matches(command.name, command_names(), n=1)
        unknown = language.gettext("There is no command {name}.", name=f"`/{command.name}`")
        meant = language.gettext("Did you mean {name}?", name=f"`/{near[0]}`") if near else ""
        usage = language.translate(COMMANDS["help"].usage)
        listed = language.gettext("{name} lists them all.", name=f"`{usage}`")
        return CommandReply(" ".join(filter(None, (unknown, meant, listed))))

    async def help(self, session: LiveSession, rest: str) -> str:
        """List the commands that can be used here."""
        language = session.language
        commands = [*self.available(), *(PHONE_COMMANDS.values() if _is_phone(session) else ())]
        lines = [
            f"- `{language.translate(command.usage)}`: {language.translate(command.help)}"
            for command in commands
        ]
        intro = language.gettext("You can write to me as you like, or use one of these:")
        return f"{intro}\n\n" + "\n".join(lines)

    async def connect(self, session: LiveSession, name: str) -> str | CommandReply:
        """Offer a link that connects an account, or confirm a connection by its code."""
        if self.connecting is None:
            return session.language.translate(NONE)
        user = _user(session)
        if not name or matches_wording(name, LIST_WORD):
            return await self.status(session, "")
        if CODE.fullmatch(name.strip().lower()):
            return await self._confirm(session, name.strip().lower())
        toolkit = await self._named(user, name)
        origin = session.connection_origin
        if origin is None:
            return session.language.translate(NO_LINK)
        link = await self.connecting.offer(user, origin, toolkit.slug)
        last = SAY_STATUS if origin.description is None else SEND_CODE
        connect = wording("Connect {name} at this address.", name=toolkit.name)
        text = session.language.translate(joined(connect, last))
        return CommandReply(text, toolkit.slug, link)

    async def _confirm(self, session: LiveSession, code: str) -> str:
        if self.connecting is None:
            return session.language.translate(NONE)
        toolkit = await self.connecting.confirm(session.principal, code)
        name = (await self._named(session.principal, toolkit)).name
        return session.language.gettext("{name} is connected.", name=name)

    async def disconnect(self, session: LiveSession, name: str) -> str:
        """Delete the user's connection to a toolkit."""
        if self.connecting is None:
            return session.language.translate(NONE)
        user = _user(session)
        toolkit = await self._named(user, name)
        gone = await self.connecting.disconnect(user, toolkit.slug)
        language = session.language
        if gone:
            return language.gettext("{name} is disconnected.", name=toolkit.name)
        return language.gettext("{name} was not connected.", name=toolkit.name)

    async def status(self, session: LiveSession, name: str) -> str:
        """Say which accounts are connected: all of them, or the named one."""
        if self.connecting is None:
            return session.language.translate(NONE)
        user = _user(session)
        toolkits = await self.connecting.toolkits(user)
        if name:
            toolkits = [await self._named(user, name)]
        return "\n".join(
            f"- **{item.name}** (`{item.slug}`): {session.language.translate(_state(item))}"
            for item in toolkits
        )

    async def tools(self, session: LiveSession, rest: str) -> str:
        """List the tools that the agent can use for this user."""
        language = session.language
        asks_first = language.gettext("asks you first")
        lines = [f"- `{name}`" for name in self.built_in]
        if self.schedules is not None and session.principal.may_schedule:
            lines += [f"- `{n}`{'' if n == LIST else f' ({asks_first})'}" for n in NAMES]
        if self.connecting is not None and session.principal.is_stored:
            toolkits = await self.connecting.toolkits(_user(session))
            for tool in await self.connecting.tools([item.slug for item in toolkits]):
                asks = f", {asks_first}" if tool.changes else ""
                lines.append(f"- `{tool.name}` ({tool.toolkit}{asks})")
        if self.mcp is not None:
            for listing in await self.mcp.listings(session.owner, session.agent_id):
                for item in listing.tools:
                    asks = f", {asks_first}" if item.changes else ""
                    lines.append(f"- `{item.name}` ({item.server}{asks})")
        shown = lines[:SHOWN_TOOLS]
        if len(lines) > SHOWN_TOOLS:
            more = language.gettext("… and {count} more", count=len(lines) - SHOWN_TOOLS)
            shown.append(f"- {more}")
        return language.gettext("I can use these:") + "\n\n" + "\n".join(shown)

    async def schedule(self, session: LiveSession, rest: str) -> str:
        """Add, list or cancel the user's recurring tasks."""
        schedules, conversation = self.schedules, session.conversation_id
        if schedules is None or conversation is None:
            return session.language.translate(NO_SCHEDULING)
        language = session.language
        if not session.principal.may_schedule:
            return language.translate(NO_SCHEDULING if session.principal.is_stored else STORED_ONLY)
        action, _, which = rest.partition(" ")
        if not rest:
            tasks = await schedules.overview(session.owner, language)
            return f"{language.translate(HOW_TO_SCHEDULE)}\n\n{tasks}"
        if matches_wording(action, LIST_WORD):
            return await schedules.overview(session.owner, language)
        if matches_wording(action, CANCEL_WORD):
            return await schedules.cancel(session.owner, which, language)
        match = WHEN_AND_WHAT.fullmatch(rest)
        when, task = match.groups() if match is not None else (rest, "")
        return await schedules.add(
            session.owner, schedule_target(session, conversation), when, task
        )

    async def language(self, session: LiveSession, name: str) -> str:
        """Choose the language of the app's own texts, for a sender on WhatsApp."""
        if not _is_phone(session):
            return session.language.gettext(
                "Here the page's settings or the request's Accept-Language choose the language."
            )
        chosen = language_named(name)
        if chosen is None:
            names = ", ".join(f"{item.name} (`{item.tag}`)" for item in languages().all)
            return session.language.gettext(
                "Write the language behind it, such as `/language en`. There are these: {names}.",
                names=names,
            )
        with mapped_store_errors():
            await session.memory.set_language(session.owner, chosen.tag)
        return chosen.gettext("My notes to you are in {name} now.", name=chosen.name)

    async def new(self, session: LiveSession, rest: str) -> str:
        """Say how a conversation begins where no channel ran the control command."""
        return session.language.gettext("A new conversation begins with a session of its own here.")

    async def export(self, session: LiveSession, rest: str) -> str:
        """Give the conversation as Markdown; on the page, links that save it."""
        conversation = session.conversation_id or ""
        if session.channel == "web":
            links = [
                f"[{name}](history/export?id={conversation}&format={ending})"
                for ending, name in (("md", "Markdown"), ("json", "JSON"), ("html", "HTML"))
            ]
            return session.language.gettext(
                "Save this conversation as {markdown}, {json} or {html}.",
                markdown=links[0],
                json=links[1],
                html=links[2],
            )
        stored = await self.history.conversation(session.principal, conversation)
        pages = self.history.messages(session.principal, conversation)
        form = formats(session.language)["md"]
        files = self.history.files_of(session.principal, conversation)
        text = await beginning(form, stored, pages, MAX_CHARS, files)
        return self.history.files.clean(session.principal, text)

    async def forget(self, session: LiveSession, rest: str) -> str:
        """Ask for the control command that deletes everything."""
        return session.language.gettext(
            "This deletes **all** of your conversations and files for good. Write "
            "`/forget everything` if you are sure."
        )

    async def _named(self, user: Principal, name: str) -> Toolkit:
        toolkits = await self.connecting.toolkits(user) if self.connecting is not None else []
        wanted = name.strip().lower()
        for item in toolkits:
            if wanted in (item.slug, item.name.lower()):
                return item
        slugs = [item.slug for item in toolkits]
        near = difflib.get_close_matches(wanted, slugs, n=1)
        sentence = joined(
            wording("There is no app of that name."),
            wording("Did you mean {name}?", name=near[0]) if near else None,
            wording("These can be connected: {names}.", names=", ".join(slugs)),
        )
        raise UserError(sentence, status=404)


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

    `usage` begins with the name of the command in its language.
    """

    usage: Wording
    help: Wording
    run: Run
    control: Control | None = None
    argument: Wording | None = None


COMMANDS: Mapping[str, CommandSpec] = MappingProxyType(
    {
        "help": CommandSpec(
            wording("/help"), wording("what you can write here"), ChatCommands.help
        ),
        "connect": CommandSpec(
            wording("/connect NAME"),
            wording("connect an account of yours; `/connect list` names them"),
            ChatCommands.connect,
        ),
        "disconnect": CommandSpec(
            wording("/disconnect NAME"), wording("disconnect it again"), ChatCommands.disconnect
        ),
        "status": CommandSpec(
            wording("/status [NAME]"), wording("what is connected"), ChatCommands.status
        ),
        "tools": CommandSpec(
            wording("/tools"), wording("what I can use for you"), ChatCommands.tools
        ),
        "schedule": CommandSpec(
            wording("/schedule WHEN: TASK"),
            wording(
                "have a task done regularly; also `/schedule list` and `/schedule cancel NUMBER`"
            ),
            ChatCommands.schedule,
        ),
        "new": CommandSpec(
            wording("/new"), wording("begin a new conversation"), ChatCommands.new, _begin_new
        ),
        "export": CommandSpec(
            wording("/export"), wording("save this conversation"), ChatCommands.export
        ),
        "forget": CommandSpec(
            wording("/forget"),
            wording("delete all of your conversations"),
            ChatCommands.forget,
            _forget_everything,
            EVERYTHING,
        ),
    }
)


# Of WhatsApp alone: pages and requests choose their language by themselves.
PHONE_COMMANDS: Mapping[str, CommandSpec] = MappingProxyType(
    {
        "language": CommandSpec(
            wording("/language NAME"), wording("choose my language"), ChatCommands.language
        )
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
    if spec.argument is not None and not matches_wording(command.rest, spec.argument):
        return None
    return await spec.control(history, principal, begin_new)


def language_named(name: str) -> Language | None:
    """Return the language that somebody means by a tag or by its name in any language of the app."""
    wanted, known = name.strip().lower(), languages().all
    for language in known:
        names = {other.locale.languages.get(language.locale.language, "") for other in known}
        if wanted and wanted in {language.tag.lower(), *(item.lower() for item in names)}:
            return language
    return None


def _is_phone(session: LiveSession) -> bool:
    return session.principal.kind == "phone"


def _user(session: LiveSession) -> Principal:
    if not session.principal.is_stored:
        raise UserError(NO_COOKIE, status=403)
    return session.principal


def _state(item: Toolkit) -> str:
    return STATES[item.state] if item.needs_account else wording("needs no account")
