"""Isolation 10: rules about the source that make access to another user's data impossible."""

import ast
import inspect
import re
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from cmw_agent.agent.agent import CmwAgent
from cmw_agent.agent.tool_loop import RunContext
from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.identity.principals import Principal, SessionKey
from memory import connection_rows
from memory.conversations import reading, share_copies, shares, transfer, turn_statements, usage
from memory.engine.prepared import Prepared
from memory.queues import schedule_claims, schedule_rows
from tests.harness import Browser
from tests.isolation.source import PACKAGES, ROOT, Source, assigned, imports, public, sources
from tests.isolation.world import app_with_model

# -- imports ------------------------------------------------------------------------------


def test_imports_run_downwards_only() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken." in result.stdout


DATABASES = {"sqlalchemy", "alembic", "sqlite3", "aiosqlite", "asyncpg", "psycopg", "dataset"}


def test_sql_is_known_to_memory_alone() -> None:
    app = Source("app", ast.parse((ROOT / "app.py").read_text(encoding="utf-8")))
    for source in [*sources("cmw_agent"), app]:
        assert not imports(source) & DATABASES, source.name
        for text in strings(source):
            assert not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE)\s", text), source.name


def strings(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


# -- the owner in every signature -----------------------------------------------------------

# What names a user in a signature; `new` is a `turns.Beginning`, which cannot be made
# without an owner, and `principal`, `session` and `request` carry one; a `user` is a
# `ConnectionUser`, which is made of a principal alone; a `holder` is the key of the REST
# interface that a request has proved; a `reader` is the principal of a share's link.
IDENTITY = {
    *("account", "holder", "owner", "principal", "session", "request", "lease", "user"),
    "reader",
}

# Modules of `memory` whose functions reach no row of a user by themselves.
ROWLESS = {
    "memory": "hands on the names of the others",
    "memory.engine.sqlite_backup": "copies whole files, for whoever runs the app, and hands out no row",
    "memory.engine.database": "opens databases",
    "memory.engine.interface": "runs work that it is given",
    "memory.engine.sqlite": "the same",
    "memory.engine.postgres": "the same",
    "memory.engine.postgres_address": "reads the address of a database",
    "memory.engine.notices": "passes texts among processes, reads no row",
    "memory.engine.erasure": "removes what nobody owns any more, hands out no row",
    "memory.errors": "classes of errors",
    "memory.engine.driver_errors": "translates drivers' errors",
    "memory.engine.process_lock": "the file's lock between processes",
    "memory.reports.statistics": "sums over everybody",
    "memory.migrations": "changes tables, reads no row",
    "memory.migrations.versions": "empty",
    "memory.engine.permissions": "modes of files and folders",
    "memory.reports.percentiles": "figures of a selection that it is given",
    "memory.engine.prepared": "runs statements that it is given; an invariant below reads them",
    "memory.receipts": "hashes of what it is given",
    "memory.records": "copies of rows, and ids",
    "memory.share_records": "copies of rows",
    "memory.engine.scopes": "says whose rows a transaction may reach, reaches none",
    "memory.engine.scoped_connection": "hands that on to PostgreSQL",
    "memory.conversations.turn_statements": "statements; another invariant below reads them",
    "memory.schema": "the tables' columns",
    "memory.validation": "checks of texts",
    "memory.engine.group_commit": "runs work that it is given",
    "memory.conversations.context_window": "pure: chooses among messages it is given",
}

# Modules of `cmw_agent` with a door: something that all users share and that leads to
# what is a user's own. What belongs to one session, such as a Turn, is no door.
DOORS = {
    "cmw_agent.conversations.sessions": {"SessionMaker", "SessionRegistry"},
    "cmw_agent.chat.service": {"ChatService"},
    "cmw_agent.conversations.service": {"ConversationService"},
    "cmw_agent.files.service": {"Files"},
    "cmw_agent.files.copies": {"FileCopies"},
    "cmw_agent.conversations.shares": {"ShareService"},
    "cmw_agent.web.api.shares": {"ShareRoutes"},
    "cmw_agent.channels.rest.shares": {"RestShares"},
    "cmw_agent.web.api.files": {"FileRoutes"},
    "cmw_agent.limits.limiter": {"RateLimiter"},
    "cmw_agent.web.page.base_handlers": {"BaseHandlers"},
    "cmw_agent.web.page.handlers": {"Handlers"},
    "cmw_agent.web.page.opening_handlers": {"OpeningHandlers"},
    "cmw_agent.web.page.sending_handlers": {"SendingHandlers"},
    "cmw_agent.web.page.temporary_handlers": {"TemporaryHandlers"},
    "cmw_agent.web.page.version_handlers": {"VersionHandlers"},
    "cmw_agent.web.api.conversations": {"HistoryRoutes"},
    "cmw_agent.web.api.connections": {"ConnectionRoutes"},
    "cmw_agent.web.api.approvals": {"ApprovalRoutes"},
    "cmw_agent.web.api.usage": {"UsageRoutes"},
    "cmw_agent.channels.rest.messages": {"Rest"},
    "cmw_agent.channels.rest.dependencies": {"ConversationLookup"},
    "cmw_agent.channels.rest.sessions": {"RestSessions"},
    "cmw_agent.channels.openai.completions": {"Completions"},
    "cmw_agent.channels.embed.routes": {"EmbedRoutes"},
    "cmw_agent.chat.approval_registry": {"ApprovalRegistry"},
    "cmw_agent.tools.composio.connections": {"Connections"},
    "cmw_agent.tools.composio.connecting": {"ConnectionService"},
    "cmw_agent.schedules.service": {"ScheduleService"},
    "cmw_agent.runtime.scheduler": {"Scheduler"},
    "cmw_agent.web.login.accounts": {"Accounts"},
    "cmw_agent.web.login.routes": {"LoginRoutes"},
    "cmw_agent.web.login.consent": {"ConsentRoutes"},
}

# Doors without a user, judged one by one.
JUDGED = {
    "memory.maintenance.recovery.interrupt_abandoned": "maintenance: returns a count, changes a state only",
    "memory.maintenance.recovery.abandoned": "a condition, which reaches nothing",
    "memory.maintenance.retention.Retention.clean": "maintenance: returns counts, deletes what is due",
    "memory.engine.storage_probe.can_lock": "start: writes a file of its own, and nobody's data",
    "memory.mcp_rows.purge": "maintenance: deletes what was not used for long, returns a count",
    "memory.logins.purge": "maintenance: deletes logins that nobody can use",
    "memory.maintenance.owners.owners_of_rows": "maintenance: names owners, to compare them with tombstones",
    "memory.maintenance.retention.delete": "maintenance: a batch of it",
    "memory.maintenance.retention.Retention.existing_files": "maintenance: tells ids of files from others",
    "memory.conversations.files.existing": "maintenance: tells ids of files from others",
    "memory.conversations.files.purge": "maintenance: deletes what was never sent, returns a count",
    "memory.conversations.share_files.existing": "maintenance: tells ids of files from others",
    "memory.conversations.shares.purge": "maintenance: deletes shares that have expired, returns a count",
    "cmw_agent.files.copies.FileCopies.path": "the bytes of a record that was read for a share's principal",
    "cmw_agent.files.copies.FileCopies.drop": "deletes bytes whose records its caller has deleted",
    "cmw_agent.web.api.shares.ShareRoutes.routes": "the routes themselves, which are judged in `OPEN`",
    "cmw_agent.channels.rest.shares.RestShares.router": "the routes themselves, which are judged in `OPEN`",
    "cmw_agent.files.service.Files.sweep": "maintenance: deletes bytes that no row names, returns a count",
    "cmw_agent.web.api.files.FileRoutes.routes": "the routes themselves, which are judged in `OPEN`",
    "memory.maintenance.retention.mark_inactive": "maintenance: changes a status only",
    "memory.maintenance.retention.count": "maintenance: returns counts",
    "memory.maintenance.integrity.faults": "maintenance: returns counts of what does not hang together",
    "memory.maintenance.integrity.file_ids": "maintenance: ids of files, to see whether their bytes are there",
    "memory.queues.schedule_rows.schedule_of": "makes a record of a row that it is given",
    "memory.queues.schedule_claims.is_due": "says whether any task waits",
    "memory.threads.owners": "maintenance: names owners whose agents remember what is deleted",
    "memory.threads.counts": "maintenance: returns counts",
    "memory.threads.ThreadStore.owners_of_orphaned": "the same",
    "memory.threads.ThreadStore.orphaned_counts": "the same: returns counts",
    "memory.queues.schedule_claims.claim_due": "hands one task on to be run as the owner that it names",
    "memory.queues.schedule_rows.unvisited": "maintenance: hands tasks on to be ended, each with its owner",
    "memory.queues.schedules.Schedules.unvisited": "maintenance: the same",
    "cmw_agent.runtime.scheduler.Scheduler.end_unvisited": "maintenance: ends tasks, returns a count",
    "memory.queues.schedules.Schedules.is_due": "says whether any task waits",
    "memory.queues.schedules.Schedules.claim_due": "hands one task on to be run as the owner that it names",
    "cmw_agent.runtime.scheduler.Scheduler.tick": "runs what is due, each task as its owner; gives nothing",
    "cmw_agent.runtime.scheduler.Scheduler.rest": "waits for that",
    "cmw_agent.runtime.scheduler.Scheduler.close": "stops all runs at the end",
    "memory.reports.usage_statistics.statistics": "returns sums, for whoever runs the app",
    "memory.queues.inbox_rows.claim": "hands messages to whoever deals with them, each with its owner",
    "memory.queues.inbox_rows.put_back": "changes a state back: returns nothing",
    "memory.queues.inbox_rows.renew": "changes the end of leases: returns nothing",
    "memory.queues.inbox_rows.mark_lost": "maintenance: gives up what dead processes did, each with its owner",
    "memory.queues.inbox_rows.backlog": "returns a count, for whoever runs the app",
    "memory.queues.inbox_rows.statistics": "returns counts, for whoever runs the app",
    "memory.queues.inbox_rows.is_due": "says whether there is anything to do",
    "memory.queues.inbox_rows.purge": "maintenance: deletes bare ids, returns a count",
    "memory.queues.inbox.Inbox.claim": "hands messages to whoever deals with them, each with its owner",
    "memory.queues.inbox.Inbox.renew": "changes the end of leases: returns nothing",
    "memory.queues.inbox.Inbox.mark_lost": "maintenance: returns a count",
    "memory.queues.inbox.Inbox.backlog": "returns a count, for whoever runs the app",
    "memory.queues.inbox.Inbox.statistics": "returns counts, for whoever runs the app",
    "memory.queues.inbox.Inbox.purge": "maintenance: returns a count",
    "memory.queues.outbox_rows.is_named": "says whether an unguessable name is there",
    "memory.queues.outbox_rows.mark_undelivered": "changes the state of a send by its unguessable id",
    "memory.queues.outbox_rows.take_back": "hands a send on whose owner it names, by its unguessable id",
    "memory.queues.windows.is_settled": "says whether there is anything to do",
    "memory.queues.windows.settle": "changes what waits for which recipient, returns a count",
    "memory.queues.windows.give_up": "maintenance: ends what has waited too long, returns a count",
    "memory.queues.windows.to_hold": "is a condition: reads nothing",
    "memory.queues.window_store.ServiceWindows.refused_later": "changes a send by its unguessable id",
    "memory.queues.window_store.ServiceWindows.settle": "changes what waits, returns a count",
    "memory.queues.window_store.ServiceWindows.give_up": "maintenance: returns a count",
    "memory.queues.outbox.Outbox.is_named": "says whether an unguessable name is there",
    "memory.queues.outbox.Outbox.mark_undelivered": "changes the state of a send by its unguessable id",
    "memory.queues.outbox_rows.claim": "hands sends to whoever delivers them, each with its owner",
    "memory.queues.outbox_rows.put_back": "changes a state back: returns nothing",
    "memory.queues.outbox_rows.expire": "maintenance: changes a state, returns a count",
    "memory.queues.outbox_rows.statistics": "returns counts and kinds of failures, for whoever runs the app",
    "memory.queues.outbox_rows.is_due": "says whether there is anything to do",
    "memory.queues.outbox_rows.purge": "maintenance: deletes what has ended, returns a count",
    "memory.queues.outbox.Outbox.claim": "hands sends to whoever delivers them, each with its owner",
    "memory.queues.outbox.Outbox.expire": "maintenance: returns a count",
    "memory.queues.outbox.Outbox.statistics": "returns counts, for whoever runs the app",
    "memory.queues.outbox.Outbox.purge": "maintenance: returns a count",
    "memory.reports.tool_usage.tools": "sums over everybody; a part of them",
    "memory.reports.rated_answers.rated_conversations": "names conversations of owners who agreed, each with its owner",
    "memory.reports.rated_answers.rated_answers": "for whoever runs the app: of owners who agreed, without their names",
    "cmw_agent.conversations.sessions.SessionRegistry.expire": "lets idle sessions go, returns a count",
    "cmw_agent.conversations.sessions.SessionRegistry.close": "lets all sessions go at the end",
    "cmw_agent.chat.service.ChatService.refusal": "says whether the process has room",
    "cmw_agent.chat.service.ChatService.close": "stops all turns at the end",
    "cmw_agent.chat.service.ChatService.drain": "lets all turns end, and stops the rest",
    "cmw_agent.web.api.conversations.HistoryRoutes.routes": "the routes themselves, which are judged in `OPEN`",
    "cmw_agent.web.api.connections.ConnectionRoutes.routes": "the routes themselves, judged in `OPEN`",
    "cmw_agent.web.api.approvals.ApprovalRoutes.routes": "the routes themselves, judged in `OPEN`",
    "cmw_agent.web.api.usage.UsageRoutes.routes": "the routes themselves, judged in `OPEN`",
    "cmw_agent.channels.rest.messages.Rest.router": "the routes themselves, which are judged in `OPEN`",
    "cmw_agent.channels.rest.sessions.RestSessions.router": "the routes themselves, judged in `OPEN`",
    "cmw_agent.channels.openai.completions.Completions.router": "the routes themselves, judged in `OPEN`",
    "cmw_agent.channels.embed.routes.EmbedRoutes.register": "the routes themselves, judged in `OPEN`",
    "cmw_agent.tools.composio.connections.Connections.tools": "what all users may be offered alike",
    "cmw_agent.tools.composio.connections.Connections.check": "says whether a toolkit is configured",
    "cmw_agent.tools.composio.connections.Connections.title": "what people call a toolkit",
    "cmw_agent.tools.composio.connecting.ConnectionService.tools": "what all users may be offered alike",
    "cmw_agent.tools.composio.connecting.ConnectionService.title": "what people call a toolkit",
    "cmw_agent.tools.composio.connecting.ConnectionService.attempt": "a link's, if its secret and browser are right",
    "cmw_agent.tools.composio.connecting.ConnectionService.begin": "the same",
    "cmw_agent.tools.composio.connecting.ConnectionService.finish": "the same; other browsers end it",
    "memory.connection_rows.link_owner": "finds whose a link is by its secret, to name the owner from then on",
    "memory.connections.ConnectionStore.link_owner": "the same",
    "cmw_agent.web.login.accounts.Accounts.connected_names": "names what was read of one visitor",
    "memory.connection_rows.named": "tells ids of accounts from others, which stay for that",
    "memory.connections.ConnectionStore.named": "the same",
    "memory.connection_rows.purge": "maintenance: deletes links that nobody can finish",
    "cmw_agent.tools.composio.connections.Connections.load": "maintenance: fetches what is due of that",
    "cmw_agent.tools.composio.connections.Connections.close": "ends background work at the end",
    "cmw_agent.web.login.routes.LoginRoutes.routes": "the routes themselves, which are judged in `OPEN`",
    "cmw_agent.web.login.consent.ConsentRoutes.routes": "the routes themselves, judged in `OPEN`",
}


def doors() -> Iterator[tuple[str, Callable[..., Any]]]:
    for source in sources("memory"):
        if source.name not in ROWLESS and ".versions." not in source.name:
            for name, function in public(source.module()):
                yield f"{source.name}.{name}", function
    for source in sources("cmw_agent"):
        for name, function in public(source.module()):
            if name.partition(".")[0] in DOORS.get(source.name, ()):
                yield f"{source.name}.{name}", function


def test_no_function_reaches_a_user_s_data_without_naming_the_user() -> None:
    found = dict(doors())
    assert len(found) > 25
    for name, function in found.items():
        parameters = inspect.signature(function).parameters
        naming = [parameters[p] for p in parameters if p in IDENTITY]
        assert naming or name in JUDGED, f"{name} names no user"
        for parameter in naming:
            assert parameter.default is parameter.empty, f"{name}: {parameter.name} has a default"
            kind = parameter.annotation
            kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
            assert "None" not in str(kind), f"{name}: {parameter.name} may be None"


# The modules of the memory manager's class and of its bases.
STORES = (
    "memory.manager.",
    "memory.conversations.turn_store.",
    "memory.conversations.file_record_store.",
)


def test_the_store_takes_the_owner_first() -> None:
    found = [(module, f) for module in STORES for name, f in doors() if name.startswith(module)]
    assert {module for module, _ in found} == set(STORES)
    for _, function in found:
        assert list(inspect.signature(function).parameters)[1] == "owner", function.__qualname__


def test_every_judgement_is_of_something_that_is_there() -> None:
    assert set(JUDGED) <= {name for name, _ in doors()}
    assert set(ROWLESS) <= {source.name for source in sources("memory")}
    known = {source.name: source for source in sources("cmw_agent")}
    for module, classes in DOORS.items():
        assert all(inspect.isclass(getattr(known[module].module(), name)) for name in classes)


def test_nothing_personal_can_be_made_without_its_owner() -> None:
    for made, needed in (
        (CmwAgent, "owner"),
        (RunContext, "owner"),
        (LiveSession, "principal"),
        (LiveSession, "key"),
        (Principal, "id"),
        (SessionKey, "value"),
    ):
        assert inspect.signature(made).parameters[needed].default is inspect.Parameter.empty


# -- the owner in every statement -----------------------------------------------------------

USER_TABLES = re.compile(
    r"\bagent_(sessions|messages|turns|files|schedules|connections|shares|share_[a-z]+)\b"
)
# A snapshot's rows belong to the principal of its link; no statement on them reaches other tables.
SNAPSHOTS_ALONE = re.compile(
    r"^(?!.*\bagent_(sessions|messages|turns|files|schedules|connections|shares)\b)"
    r"(INSERT INTO \w+ \([^)]*\breader_id\b|.*\bWHERE\b.*\breader_id = )",
    re.DOTALL,
)
# An insert names its columns; all else names the owner after WHERE or in the conflict.
OWNED = re.compile(r"^INSERT INTO \w+ \([^)]*\bowner_id\b|\bWHERE\b.*\bowner_id\b", re.DOTALL)


def statement_constants() -> dict[str, Any]:
    """Return the statements of memory as constants, those by dialect one by one."""
    found: dict[str, Any] = {}
    for module in (
        turn_statements,
        reading,
        usage,
        schedule_rows,
        schedule_claims,
        connection_rows,
        transfer,
        shares,
        share_copies,
    ):
        for name, value in vars(module).items():
            each = value if isinstance(value, dict) else {"": value}
            if isinstance(value, Prepared):
                each = {"": value.statement, "postgresql": value.elsewhere}
            for dialect, statement in each.items():
                if isinstance(statement, sa.Executable):
                    found[f"{module.__name__}.{name} {dialect}".strip()] = statement
    return found


@pytest.mark.parametrize("name", sorted(statement_constants()))
def test_every_statement_names_the_owner(name: str) -> None:
    statement = statement_constants()[name]
    dialect: sa.Dialect = sqlite.dialect()
    if name.endswith("postgresql"):
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    columns = list(statement.table.c.keys()) if isinstance(statement, sa.Insert) else None
    text = str(statement.compile(dialect=dialect, column_keys=columns))
    assert OWNED.search(text) or SNAPSHOTS_ALONE.search(text), text
    if text.startswith("INSERT") and "ON CONFLICT" in text:
        assert re.search(r"ON CONFLICT.*WHERE.*owner_id = excluded.owner_id", text, re.DOTALL), text


@pytest.mark.parametrize(
    "prepared", [value for value in vars(turn_statements).values() if isinstance(value, Prepared)]
)
def test_every_statement_that_the_driver_is_given_names_the_owner(prepared: Prepared) -> None:
    assert OWNED.search(prepared.sql), prepared.sql


async def test_every_statement_that_runs_names_the_owner(tmp_path: Path) -> None:
    ran: list[str] = []

    def note(connection: Any, _record: Any) -> None:
        connection.set_trace_callback(ran.append)

    sa.event.listen(sa.Pool, "connect", note)
    try:
        async with app_with_model(tmp_path) as here, Browser(here.url) as browser:
            ran.clear()  # of the tables' making
            tab = await browser.open()
            await tab.send("one")
            await tab.run("retry", [""])
            await tab.run("edit", ["1", "two"])
            await tab.run("chat", ["three"])
            (row,) = here.rows()["agent_sessions"]
            await browser.open(query=f"?c={row['session_id']}")
            for session in here.sessions().values():
                await session.memory.forget(session.owner)
            reached = [statement for statement in ran if is_of_users(statement)]
    finally:
        sa.event.remove(sa.Pool, "connect", note)
    assert len(reached) > 30
    for statement in reached:
        assert OWNED.search(statement), statement


def is_of_users(statement: str) -> bool:
    # What a trigger does is traced as a comment.
    return USER_TABLES.search(statement) is not None and not statement.startswith("--")


# -- no state that users share ---------------------------------------------------------------

MUTABLE = (dict, list, set, bytearray, deque, OrderedDict)
MUTATORS = {
    *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert"),
    *("move_to_end", "pop", "popitem", "popleft", "remove", "reverse", "setdefault", "sort"),
    "update",
}
# Caches hold what was computed for one user ready for the next; these take no argument.
JUDGED_CACHES = {
    "cmw_agent.chat.commands.command_names": "the names of commands in each language",
    "cmw_agent.core.time_zones.cities": "the names of cities in each language",
    "cmw_agent.schedules.words.lexicons": "the words of recurring tasks in each language",
    "cmw_agent.core.time_zones.zone_names": "the names of time zones",
    "cmw_agent.language.languages.languages": "the catalogues of the package",
    "cmw_agent.llm.endpoint._trusting": "the TLS context of certificate authorities",
    "cmw_agent.web.api.shared_page._page": "a template, a style and a script of the package",
    "cmw_agent.web.api.rated_page._template": "a template of the package",
    "cmw_agent.web.api.statistics_page._template": "a template of the package",
    "cmw_agent.web.api.svg_charts._macros": "a template of the package",
}
# The process's environment alone decides what these are.
JUDGED_CACHE_ARGUMENTS = {"cmw_agent.llm.endpoint._trusting": "paths: tuple[str | None, ...]"}


def test_no_module_keeps_state_that_changes() -> None:
    everything = sources()
    kept: dict[str, str] = {}
    for source in everything:
        values = vars(source.module())
        for name, _ in assigned(source.tree.body):
            if isinstance(values.get(name), MUTABLE):
                kept[name] = source.name
    assert kept  # constants such as tables of operators
    for source in everything:
        for name in mutated(source.tree):
            assert name not in kept, f"{source.name} changes {kept.get(name)}.{name}"


def mutated(tree: ast.AST) -> Iterator[str]:
    """Return the names of what is changed in place by subscript, method or operator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            yield named(node.value)
        elif isinstance(node, ast.AugAssign):
            yield named(node.target)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATORS
        ):
            yield named(node.func.value)


def named(node: ast.expr) -> str:
    """Return NAME of ``NAME`` and of ``module.NAME``; own attributes are an object's state."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return "" if node.value.id in ("self", "cls") else node.attr
    return ""


def test_no_class_keeps_state_that_its_objects_share() -> None:
    for source in sources():
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ClassDef):
                continue
            for name, value in assigned(node.body):
                where = f"{source.name}.{node.name}.{name}"
                is_call = isinstance(value, ast.Call) and ast.unparse(value.func) in (
                    "dict", "list", "set", "deque", "defaultdict", "OrderedDict", "Counter",
                )  # fmt: skip
                assert not isinstance(value, ast.Dict | ast.List | ast.Set), where
                assert not is_call, where


def test_no_module_keeps_an_object_with_state() -> None:
    # Objects that modules may hold: those without state, or whose state is no user's.
    allowed = re.compile(
        r"re\.compile|timedelta|frozenset|tuple|MappingProxyType|logging\.getLogger|get_logger"
        r"|TypeVar|ParamSpec|TypeAdapter|Path.*"
        r"|sa\..*|agent_(sessions|files|messages)\.c\.\w+\.is_(not)?|_[A-Z_]+\.(where|with_for_update|with_only_columns)"
        r"|.*\bselect\(.*|_create_or_extend|AnswerDetails|Look|_newest|_oldest|Prepared|wordings?|_?[a-z_]*bindparam|CronField"
    )
    for source in sources():
        for name, value in assigned(source.tree.body):
            if isinstance(value, ast.Call):
                made = ast.unparse(value.func)
                assert allowed.fullmatch(made), f"{source.name}.{name} = {made}(…)"


def test_no_code_writes_to_a_class_or_a_module() -> None:
    for source in sources():
        shared = {"cls", *(n.name for n in source.tree.body if isinstance(n, ast.ClassDef))}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                shared |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
                target = ast.unparse(node.value)
                where = f"{source.name}: {target}.{node.attr}"
                assert target not in shared, where
                assert not target.startswith("type("), where
                assert "__class__" not in target, where
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
                assert ast.unparse(node.args[0]) not in shared, source.name


def test_no_global_and_no_context_variable_carries_anything() -> None:
    for source in sources():
        assert not imports(source) & {"contextvars"}, source.name
        for node in ast.walk(source.tree):
            assert not isinstance(node, ast.Global), f"{source.name}: global"
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) != "threading.local", source.name


def test_no_cache_has_users_in_it() -> None:
    found: dict[str, ast.arguments] = {}
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(
                "cache" in ast.unparse(decorator) for decorator in node.decorator_list
            ):
                found[f"{source.name}.{node.name}"] = node.args
    assert set(found) == set(JUDGED_CACHES)
    for name, arguments in found.items():
        assert ast.unparse(arguments) == JUDGED_CACHE_ARGUMENTS.get(name, ""), name


# -- no identity to fall back on -------------------------------------------------------------

FALLBACKS = {"default", "default_user", "default_session", "anonymous", "guest", "unknown"}
JUDGED_WORDS = {
    ("cmw_agent.config.declarations", "default"),  # an argument of pydantic's Field
    ("cmw_agent.web.page.box_tools", "Default"),  # the label of an effort
    ("cmw_agent.tools.mcp.elicitation", "default"),  # a keyword of JSON Schema
    ("cmw_agent.agent.tool_loop", "unknown"),  # the name of a tool, as LangChain has it
    # a keyword of schemas
    ("cmw_agent.tools.openapi.documents", "default"),
    ("cmw_agent.tools.openapi.loading", "default"),
    # the phone of the bridge, as the bridges name it: the app has one
    ("cmw_agent.config.settings_channel", "default"),
    ("cmw_agent.channels.whatsapp.bridges.gowa", "default"),
}


def test_there_is_no_identity_to_fall_back_on() -> None:
    found = {
        (source.name, text)
        for source in sources()
        for text in strings(source)
        if text.lower() in FALLBACKS
    }
    assert found == JUDGED_WORDS


def test_the_laws_look_at_all_of_the_code() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders - {"tests", "benchmarks"} == set(PACKAGES)


# -- the owner of every transaction ---------------------------------------------------------


def transactions(source: Source) -> Iterator[tuple[ast.AST | None, ast.Call]]:
    """Each call of a database's `read` or `write`, with the function that it stands in."""
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    held = node.func.value
                    name = held.attr if isinstance(held, ast.Attribute) else ast.unparse(held)
                    if node.func.attr in ("read", "write") and name in ("database", "_database"):
                        yield function, node


# Transactions without an owner, which reach no user's row on PostgreSQL.
OWNERLESS = {"ping", "bypasses_row_security"}
# Those that have an owner and reach others' rows as well, each with what they do there.
COUNT_ALL = {
    "memory.conversations.file_record_store.add_file": "the bytes of a network and of all are bounded too",
    "memory.conversations.file_record_store.used_bytes": "counts the bytes of a network and of all as well",
    "memory.queues.schedules.add": "the tasks of a network and of all are bounded too",
    "memory.queues.window_store.opened": "a group has one window, whichever member has opened it",
    "memory.queues.window_store.refused": "changes the send by its owner, and closes a recipient's window",
}


def test_every_transaction_names_whose_rows_it_reaches() -> None:
    seen, over_all = 0, set()
    for source in sources():
        for function, call in transactions(source):
            assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            where = f"{source.name}.{function.name}"
            owners = [word.value for word in call.keywords if word.arg == "owner"]
            assert owners or function.name in OWNERLESS, f"{where} names no owner"
            parameters = {each.arg for each in [*function.args.args, *function.args.kwonlyargs]}
            if owners and "owner" in parameters and "EVERYONE" in ast.unparse(owners[0]):
                over_all.add(where)
            seen += 1
    assert over_all == set(COUNT_ALL), "these have an owner to name"
    assert seen > 50
