"""Scripted agents that pass tasks as often as the models of τ-bench's published table did.

Four trials of 50 tasks give the four figures of a row by one distribution alone: so many tasks that
passed in none of their trials, in one, and so on. Which tasks those are the table does not say, and
they do not matter to it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

TRIALS = 4


class Scripted:
    """Passes each task in as many of its trials as it is given.

    Args:
        tasks: How many tasks pass in 0, 1, 2, 3 and 4 trials.
    """

    def __init__(self, *tasks: int) -> None:
        self._passes = [passes for passes, count in enumerate(tasks) for _ in range(count)]
        self._trials = Counter[int]()

    async def __call__(self, messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
        """Say that a task is done, or that it is not."""
        task = int(str(messages[-1].content).removeprefix("Please do task ").removesuffix("."))
        trial = self._trials[task]
        self._trials[task] += 1
        is_passed = (task + trial) % TRIALS < self._passes[task - 1]
        yield f"Task {task} is done." if is_passed else f"I could not do task {task}."


gpt_4o = Scripted(14, 12, 10, 4, 10)
gpt_4o_mini = Scripted(30, 7, 6, 2, 5)
act = Scripted(17, 11, 11, 4, 7)
react = Scripted(26, 4, 7, 5, 8)
