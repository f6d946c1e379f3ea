"""The app with a model for each case, and the cases played at once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.raw_endpoint import RawEndpoint, RawRequest
from tests.harness import Served, served, settings_for
from tests.hostile.endpoints.case import Case
from tests.logbook import Logbook, logbook
from tests.rest import KEYS
from tests.rows import messages

KEY = "sk-secret-of-the-app"
AT_ONCE = 16


@dataclass
class House:
    """The app, the endpoint behind it, and what it logged."""

    app: Served
    endpoint: RawEndpoint
    book: Logbook
    folder: Path

    def requests_of(self, case: Case, secret: str) -> list[RawRequest]:
        """Return the requests that hold `secret`: those of the case, to the model of its name."""
        requests = self.endpoint.naming(secret)
        assert {request.body["model"] for request in requests} == {case.name}
        return requests

    def check_stored(self, case: Case, secret: str) -> None:
        """Check the stored answer to the message that holds `secret`."""
        rows = messages(self.folder, secret)
        (question,) = (row for row in rows if secret in row["content"] and row["role"] == "user")
        answer = next(row for row in rows if row["seq"] == question["seq"] + 1)
        assert (answer["status"], answer["content"]) == (case.status, case.text)
        assert answer["finish_reason"] == case.finish
        if case.text or case.thinking:
            assert answer["tokens_used"], "what came is charged"
        assert (answer["thinking"] or "").strip() == (case.thinking or "")
        calls = json.loads(answer["tool_calls"] or "[]")
        assert [(call["name"], call["ok"]) for call in calls] == list(case.tools)


@contextlib.asynccontextmanager
async def opened(folder: Path, cases: Sequence[Case]) -> AsyncIterator[House]:
    """Serve the app with an agent and a model for each case.

    At the end, the log of all that was played must neither hold the key nor an unhandled exception.
    """
    tables = (f'[[agents]]\nid = "{case.name}"\nmodel = "{case.name}"\n' for case in cases)
    (folder / "agents.toml").write_text("\n".join(tables), encoding="utf-8")
    replies = {case.name: case.replies for case in cases}
    learned = {case.name: case.learns for case in cases}
    with logbook() as book:
        async with RawEndpoint(replies, learned) as endpoint:
            settings = settings_for(
                folder,
                openai_base_url=endpoint.base_url,
                openai_api_key=KEY,
                model="default",
                models=tuple(replies),
                api_keys=KEYS,
            )
            async with served(settings) as app:
                yield House(app, endpoint, book, folder)
        assert KEY not in book.text
        assert book.unhandled == []


class Player:
    """Plays the cases that follow while a test awaits its own.

    Nearly all of a case's time is waiting: for the flush interval, for a pause before a retry, for
    an endpoint that leaves its connection open.

    Args:
        play: Plays a case; raises where it is not as expected.
        cases: In the order in which they are awaited.
    """

    def __init__(
        self, play: Callable[[Case], Coroutine[Any, Any, None]], cases: Sequence[Case]
    ) -> None:
        self._play = play
        self._cases = list(cases)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def result(self, case: Case) -> None:
        """Wait until `case` has been played.

        Raises:
            AssertionError: It was not as expected.
        """
        first = self._cases.index(case)
        for ahead in self._cases[first : first + AT_ONCE]:
            if ahead.name not in self._tasks:
                self._tasks[ahead.name] = asyncio.create_task(self._play(ahead))
        await self._tasks[case.name]

    async def aclose(self) -> None:
        """Cancel what was started for tests that did not run."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
