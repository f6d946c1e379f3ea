"""An agent that is one async function: it thinks, then answers word by word."""

from collections.abc import AsyncIterator

from langchain_core.messages import BaseMessage

from cmw_agent import Agent, Run, ThinkingDelta, create_app


async def answer(messages: list[BaseMessage], run: Run) -> AsyncIterator[object]:
    """Count the words of the last message."""
    words = messages[-1].text.split()
    yield ThinkingDelta(f"{len(words)} words to count")
    yield f"Your message has {len(words)} words"
    yield f", and this conversation {len(messages)} messages."


app = create_app(agents=[Agent(id="counter", name="Counter", graph=answer)])
