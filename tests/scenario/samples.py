"""Agents that scenarios are run against."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from cmw_agent import Agent, Owner, tool


async def echo(messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
    yield f"You said: {messages[-1].content}"


async def as_json(messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
    yield '{"city": "Paris", "people": 2}'


async def failing(messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
    yield "I begin"
    raise RuntimeError("no")


async def silent(messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield "never"


@tool(changes=True)
async def order(owner: Owner, what: str) -> str:
    """Order something."""
    del owner
    return f"ordered {what}"


shop = Agent(id="shop", tools=[order])
