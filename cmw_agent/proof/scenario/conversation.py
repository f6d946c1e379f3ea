"""One user's conversation of a scenario, turn by turn."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from cmw_agent.conversations.sessions import LiveSession
from cmw_agent.core.errors import UserError
from cmw_agent.core.events import (
    ApprovalRequested,
    TextDelta,
    TextWasThinking,
    ToolStarted,
    TurnEvent,
    TurnFinished,
)
from cmw_agent.identity.principals import Principal, SessionKey
from cmw_agent.proof.scenario.checks import Answer, failure
from cmw_agent.proof.scenario.definition import Expectation, Scenario, SimulatedUser, filled
from cmw_agent.proof.scenario.judges import verdict
from cmw_agent.proof.scenario.models import NoReplyError, ScenarioModels
from cmw_agent.proof.scenario.simulation import next_message
from cmw_agent.runtime.runtime import Runtime
from memory.records import new_conversation_id

DOLLAR = 1_000_000  # millionths


@dataclass(slots=True)
class Run:
    """One user's conversation, as it came.

    Attributes:
        cell: The combination.
        repeat: The number of the repeat, from 1.
        user: The number of the user, from 1.
        values: The user's variables.
        answers: What came of each message, as far as it got.
    """

    cell: str
    repeat: int
    user: int
    values: Mapping[str, str]
    answers: list[Answer] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether all answers came and are as expected."""
        return not any(answer.error or answer.failures for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Stage:
    """What all conversations of a scenario share.

    Attributes:
        runtime: The app.
        models: The models that work for the scenario itself.
        scenario: What is said and expected.
        folder: Where the files are that messages bring.
    """

    runtime: Runtime
    models: ScenarioModels
    scenario: Scenario
    folder: Path


class Conversation:
    """A user's conversation while it runs.

    Args:
        stage: What all conversations share.
        session: The user's session.
        run: Takes what comes.
        seed: The user's, if a model writes for them.
    """

    def __init__(self, stage: Stage, session: LiveSession, run: Run, seed: int) -> None:
        self._stage = stage
        self._session = session
        self._run = run
        self._values = run.values
        self._seed = seed

    async def play(self) -> None:
        """Run all turns whose conditions hold, then the simulated user's, as far as answers come."""
        user = self._stage.scenario.user
        if await self._play_turns() and user is not None:
            self._session.can_ask = self._stage.scenario.approve
            await self._simulate(user)

    async def _play_turns(self) -> bool:
        """Run the turns; return whether all answers came."""
        for turn in self._stage.scenario.turns:
            if turn.when is not None and not self._holds(turn.when):
                continue
            await asyncio.sleep(turn.wait)
            approve = self._stage.scenario.approve if turn.approve is None else turn.approve
            self._session.can_ask = approve
            answer = await self._say(filled(turn.say, self._values), turn.files)
            if answer.error is not None:
                return False
            await self._check(turn.expect, answer)
        return True

    async def _simulate(self, user: SimulatedUser) -> None:
        stage, run = self._stage, self._run
        for _ in range(user.turns):
            try:
                text = await next_message(
                    stage.models, self._session.owner, user, run.answers, self._values, self._seed
                )
            except NoReplyError as error:
                run.answers.append(Answer("", error=f"the simulated user: {error}"))
                return
            if text is None:
                break
            if (await self._say(text)).error is not None:
                return
        if not run.answers:
            run.answers.append(Answer("", error="the simulated user said nothing"))
            return
        await self._check(user.expect, run.answers[-1])

    def _holds(self, condition: Expectation) -> bool:
        return failure(condition, self._run.answers[-1], self._values) is None

    async def _say(self, text: str, files: Sequence[Path] = ()) -> Answer:
        answer, limit = Answer(text), self._stage.scenario.seconds
        self._run.answers.append(answer)
        begun = time.monotonic()
        try:
            async with asyncio.timeout(limit):
                ids = [await self._upload(path) for path in files]
                begun = time.monotonic()
                await self._ask(answer, ids)
                answer.seconds = time.monotonic() - begun
                await self._price(answer)
        except TimeoutError:
            answer.error = f"no answer within {limit:g} s"
        except UserError as error:
            answer.error = str(error.sentence)
        except OSError as error:
            answer.error = f"a file cannot be read ({error.strerror})"
        answer.seconds = answer.seconds or time.monotonic() - begun
        return answer

    async def _upload(self, path: Path) -> str:
        """Store a file as the user's; return its id."""
        data = await asyncio.to_thread((self._stage.folder / path).read_bytes)

        async def body() -> AsyncIterator[bytes]:
            yield data

        principal = self._session.principal
        stored = await self._stage.runtime.files.add(principal, path.name, "", body())
        return stored.file_id

    async def _price(self, answer: Answer) -> None:
        session = self._session
        usage = await self._stage.runtime.history.usage(
            session.principal, session.conversation_id or ""
        )
        micros = usage.answer.cost_micros
        answer.cost = None if micros is None else micros / DOLLAR

    async def _check(self, expected: Sequence[Expectation], answer: Answer) -> None:
        for each in expected:
            if each.judge is None:
                reason = failure(each, answer, self._values)
            else:
                found = await verdict(
                    self._stage.models,
                    self._session.owner,
                    each.judge,
                    self._run.answers,
                    self._values,
                    self._stage.scenario.seed,
                )
                answer.verdicts.append(found)
                reason = None if found.passed else f"the judge: {found.reason}"
            if reason is not None:
                answer.failures.append(reason)

    async def _ask(self, answer: Answer, files: Sequence[str]) -> None:
        turn = self._stage.runtime.chat.turn(
            self._session, answer.said, key=secrets.token_hex(8), files=files
        )
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(turn)
            async for event in turn:
                await self._take(answer, event)

    async def _take(self, answer: Answer, event: TurnEvent) -> None:
        match event:
            case TextDelta(text=text):
                answer.text += text
            case TextWasThinking(length=length):
                answer.text = answer.text[: len(answer.text) - length]
            case ToolStarted(name=name, arguments=arguments):
                answer.calls.append((name, arguments))
            case ApprovalRequested(approval_id=approval_id):
                session = self._session
                await self._stage.runtime.approval_service.answer(
                    session.principal, session.conversation_id or "", approval_id, "approved", None
                )
            case TurnFinished(outcome=outcome, sentence=sentence, tokens=tokens):
                answer.tokens = tokens or 0
                if outcome != "complete":
                    answer.error = str(sentence or outcome)
            case _:
                pass


async def new_session(runtime: Runtime, agent_id: str) -> LiveSession:
    """Return the session of a new user."""
    name = secrets.token_hex(16)
    key = SessionKey(sha256(name.encode()).hexdigest())
    session = await runtime.registry.session(key, Principal(f"v{name}", "visitor"))
    session.conversation_id = new_conversation_id()
    session.agent_id = agent_id
    return session
