"""The thread that writes to a SQLite file; waiting jobs are committed in groups.

A transaction costs SQLite its locks and each page that it has touched, whatever stands in it. While
one is written others come to wait, and those that may are put into the next one together, each
behind a savepoint of its own. See ``docs/adr/0021-commits-in-groups.md``.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from memory.engine.driver_errors import DRIVER_ERRORS
from memory.engine.interface import Transaction

MAX_GROUP_SIZE = 32  # pieces of work in one transaction, which holds the file's only write lock

JobResult = tuple[Any, BaseException | None]  # what work returned, or what it raised


class Job:
    """A piece of work that waits or runs; `outcome` is the future of its result.

    Brief work may share its transaction.
    """

    __slots__ = ("is_brief", "loop", "outcome", "work")

    def __init__(self, work: Transaction[Any], *, is_brief: bool) -> None:
        self.work = work
        self.is_brief = is_brief
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self.loop.create_future()


class WriteQueue:
    """Runs jobs in order, in one thread, for one event loop.

    Args:
        engine: Its transactions begin with the write lock.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="memory-write")
        self._waiting: deque[Job] = deque()
        self._lock = threading.Lock()  # of what waits; never held while anything runs
        self._is_called = False  # the thread will look for what waits
        self._connection: sa.Connection | None = None

    def submit(self, work: Transaction[Any], *, is_brief: bool) -> Job:
        """Queue work to be run and committed. Raises RuntimeError when the thread has ended."""
        job = Job(work, is_brief=is_brief)
        with self._lock:
            self._waiting.append(job)
            is_idle, self._is_called = not self._is_called, True
        try:
            # Not where the thread looks for more anyway: to call it costs as much as a row.
            if is_idle:
                self.thread.submit(self._next)
        except RuntimeError:
            self._is_called = False  # nor will it be: the next one is to hear of it as well
            self.withdraw(job)
            raise
        return job

    def withdraw(self, job: Job) -> bool:
        """Remove a waiting job; return False when it runs already or has ended."""
        try:
            with self._lock:
                self._waiting.remove(job)
        except ValueError:
            return False
        job.outcome.cancel()
        return True

    async def close(self) -> None:
        """Wait for the running jobs, and cancel the waiting ones."""
        await asyncio.to_thread(self.thread.shutdown, cancel_futures=True)
        with self._lock:
            waiting, self._is_called = list(self._waiting), False
        for job in waiting:
            self.withdraw(job)
        self._let_go()

    # -- in the thread ------------------------------------------------------------

    def _next(self) -> None:
        jobs = self._taken()
        if jobs:
            self._run(jobs)
            # By way of its line, where a memory's readers wait too.
            with contextlib.suppress(RuntimeError):  # it is to end
                self.thread.submit(self._next)

    def _run(self, jobs: Sequence[Job]) -> None:
        try:
            outcomes = self._transact(jobs)
        except _JobNotStartedError as failure:
            outcomes = [(None, failure.error)] * len(jobs)
        except BaseException as error:  # noqa: BLE001 (its caller's to handle)
            if len(jobs) > 1:
                self._one_by_one(jobs)
                return
            outcomes = [(None, error)]
        _deliver(jobs, outcomes)

    def _taken(self) -> list[Job]:
        jobs: list[Job] = []
        with self._lock:
            while self._waiting and len(jobs) < MAX_GROUP_SIZE:
                if jobs and not (jobs[0].is_brief and self._waiting[0].is_brief):
                    break
                jobs.append(self._waiting.popleft())
            self._is_called = bool(jobs)
        return jobs

    def _transact(self, jobs: Sequence[Job]) -> list[JobResult]:
        """Commit all of `jobs`, or raise and leave nothing of any."""
        with self._begun() as connection:
            if len(jobs) == 1:
                return [(jobs[0].work(connection), None)]
            return [_apart(connection, job.work) for job in jobs]

    def _one_by_one(self, jobs: Sequence[Job]) -> None:
        for index, job in enumerate(jobs):
            try:
                outcome: JobResult = self._transact([job])[0]
            except _JobNotStartedError as failure:
                # Each of the others would wait for the lock as long again.
                _deliver(jobs[index:], [(None, failure.error)] * (len(jobs) - index))
                return
            except BaseException as error:  # noqa: BLE001 (its caller's to handle)
                outcome = None, error
            _deliver([job], [outcome])

    @contextlib.contextmanager
    def _begun(self) -> Iterator[sa.Connection]:
        try:
            # Kept: to be handed out and taken back costs as much as a row.
            self._connection = connection = self._connection or self._engine.connect()
            transaction = connection.begin()
        except DRIVER_ERRORS as error:
            self._let_go()
            raise _JobNotStartedError(error) from None
        try:
            with transaction:
                yield connection
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if (connection := self._connection) is not None:
            self._connection = None
            connection.close()


class _JobNotStartedError(Exception):
    """The transaction could not be begun, so that no job has run."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def _apart(connection: sa.Connection, work: Transaction[Any]) -> JobResult:
    """Run work behind a savepoint, so that its failure leaves the other jobs alone.

    Raises what the database raises: SQLite may have rolled back everything by then.
    """
    # Past SQLAlchemy, which takes longer for a savepoint than SQLite for the work.
    driver: Any = connection.connection.driver_connection
    driver.execute("SAVEPOINT work")
    try:
        outcome: JobResult = work(connection), None
    except DRIVER_ERRORS:
        raise
    except BaseException as error:  # noqa: BLE001 (its caller's to handle)
        driver.execute("ROLLBACK TO work")
        outcome = None, error
    driver.execute("RELEASE work")
    return outcome


def _deliver(jobs: Sequence[Job], outcomes: Sequence[JobResult]) -> None:
    """Hand the results to the event loop, in one call for all jobs."""
    with contextlib.suppress(RuntimeError):  # closed meanwhile: nobody waits
        jobs[0].loop.call_soon_threadsafe(_settle, jobs, outcomes)


def _settle(jobs: Sequence[Job], outcomes: Sequence[JobResult]) -> None:
    for job, (result, error) in zip(jobs, outcomes, strict=True):
        if job.outcome.done():
            continue
        if error is None:
            job.outcome.set_result(result)
        else:
            job.outcome.set_exception(error)
