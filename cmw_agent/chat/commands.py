"""What a message that begins with a slash does, in every channel, without asking a model."""

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
from cmw_agent.tools.composio.connecting import CODE, Connecting
from cmw_agent.tools.composio.toolset import NO_COOKIE

FORM = re.compile(r"/([A-Za-z]{1,20})(?:\s+(.*))?", re.DOTALL)
EVERYTHING = "everything"
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
HELP: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "help": ("/help", "what you can write here"),
        "connect": ("/connect NAME", "connect an account of yours; `/connect list` names them"),
        "disconnect": ("/disconnect NAME", "disconnect it again"),
        "status": ("/status [NAME]", "what is connected"),
        "tools": ("/tools", "what I can use for you"),
        "schedule": (
            "/schedule WHEN: TASK",
            "have a task done regularly; also `/schedule list` and `/schedule cancel NUMBER`",
        ),
        "new": ("/new", "begin a new conversation"),
        "export": ("/export", "save this conversation"),
        "forget": ("/forget", "delete all of your conversations"),
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
    found = FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    return Command(found.group(1).lower(), (found.group(2) or "").strip()) if found else None


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
    connecting: Connecting | None
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
        known: Mapping[str, Callable[[LiveSession, str], Awaitable[str | CommandReply]]] = {
            "help": self._help,
            "connect": self._connect,
            "disconnect": self._disconnect,
            "status": self._status,
            "tools": self._tools,
            "schedule": self._schedule,
            "new": self._new,
            "export": self._export,
            "forget": self._forget,
        }
        work = known.get(command.name)
        if work is not None:
            answer = await work(session, command.rest)
            return answer if isinstance(answer, CommandReply) else CommandReply(answer)
        near = difflib.get_close_matches(command.name, known, n=1)
        meant = f" Did you mean `/{near[0]}`?" if near else ""
        text = f"There is no command `/{command.name}`.{meant} `/help` lists them all."
        return CommandReply(text)

    async def _help(self, session: LiveSession, rest: str) -> str:
        hidden = set() if self.connecting is not None else {"connect", "disconnect", "status"}
        hidden |= set() if self.schedules is not None else {"schedule"}
        lines = [f"- `{form}`: {text}" for name, (form, text) in HELP.items() if name not in hidden]
        return "You can write to me as you like, or use one of these:\n\n" + "\n".join(lines)

    async def _connect(self, session: LiveSession, name: str) -> str | CommandReply:
        if self.connecting is None:
            return NONE
        user = _user(session)
        if not name or name.lower() == "list":
            return await self._status(session, "")
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

    async def _disconnect(self, session: LiveSession, name: str) -> str:
        if self.connecting is None:
            return NONE
        user = _user(session)
        toolkit = await self._named(user, name)
        gone = await self.connecting.disconnect(user, toolkit.slug)
        return f"{toolkit.name} {'is disconnected' if gone else 'was not connected'}."

    async def _status(self, session: LiveSession, name: str) -> str:
        if self.connecting is None:
            return NONE
        user = _user(session)
        found = await self.connecting.toolkits(user)
        if name:
            found = [await self._named(user, name)]
        return "\n".join(f"- **{item.name}** (`{item.slug}`): {_state(item)}" for item in found)

    async def _tools(self, session: LiveSession, rest: str) -> str:
        lines = [f"- `{name}`" for name in self.built_in]
        if self.schedules is not None and session.principal.may_schedule:
            lines += [f"- `{n}`{'' if n == LIST else ' (asks you first)'}" for n in NAMES]
        if self.connecting is not None and session.principal.is_kept:
            found = await self.connecting.toolkits(_user(session))
            for tool in await self.connecting.tools([item.slug for item in found]):
                asks = ", asks you first" if tool.changes else ""
                lines.append(f"- `{tool.name}` ({tool.toolkit}{asks})")
        more = f"\n- … and {len(lines) - SHOWN_TOOLS} more" if len(lines) > SHOWN_TOOLS else ""
        return "I can use these:\n\n" + "\n".join(lines[:SHOWN_TOOLS]) + more

    async def _schedule(self, session: LiveSession, rest: str) -> str:
        book, conversation = self.schedules, session.conversation_id
        if book is None or conversation is None:
            return NO_SCHEDULING
        if not session.principal.may_schedule:
            return NO_SCHEDULING if session.principal.is_kept else KEPT_ONLY
        word, _, which = rest.partition(" ")
        if not rest:
            return HOW_TO_SCHEDULE + await book.overview(session.owner)
        if word.lower() == "list":
            return await book.overview(session.owner)
        if word.lower() == "cancel":
            return await book.cancel(session.owner, which)
        found = WHEN_AND_WHAT.fullmatch(rest)
        when, task = found.groups() if found is not None else (rest, "")
        return await book.add(session.owner, place_of(session, conversation), when, task)

    async def _new(self, session: LiveSession, rest: str) -> str:
        return "A new conversation begins with a session of its own here."

    async def _export(self, session: LiveSession, rest: str) -> str:
        conversation = session.conversation_id or ""
        if session.channel == "web":
            links = [
                f"[{name}](history/export?id={conversation}&format={ending})"
                for ending, name in (("md", "Markdown"), ("json", "JSON"), ("html", "HTML"))
            ]
            return f"Save this conversation as {', '.join(links[:-1])} or {links[-1]}."
        found = await self.history.conversation(session.principal, conversation)
        pages = self.history.messages(session.principal, conversation)
        return await beginning(FORMATS["md"], found, pages, MAX_CHARS)

    async def _forget(self, session: LiveSession, rest: str) -> str:
        return (
            "This deletes **all** of your conversations and files for good. "
            f"Write `/forget {EVERYTHING}` if you are sure."
        )

    async def _named(self, user: Principal, name: str) -> Toolkit:
        found = await self.connecting.toolkits(user) if self.connecting is not None else []
        wanted = name.strip().lower()
        for item in found:
            if wanted in (item.slug, item.name.lower()):
                return item
        slugs = [item.slug for item in found]
        near = difflib.get_close_matches(wanted, slugs, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise UserError(
            f"There is no app of that name.{meant} These can be connected: {', '.join(slugs)}.",
            status=404,
        )


def _user(session: LiveSession) -> Principal:
    if not session.principal.is_kept:
        raise UserError(NO_COOKIE, status=403)
    return session.principal


def _state(item: Toolkit) -> str:
    return STATES[item.state] if item.needs_account else "needs no account"
