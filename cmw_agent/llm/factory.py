"""Builds the chat model from the settings."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.llm.coalescing import CoalescedCompletions, FlushInterval
from cmw_agent.llm.demo_model import DemoModel
from cmw_agent.llm.http_client import Upstream

if TYPE_CHECKING:
    from cmw_agent.llm.coalesced_model import CoalescedChatOpenAI


def import_model_class() -> "type[CoalescedChatOpenAI]":
    """Return the class of endpoints' models, whose import takes a second and 20 MB.

    A process with the demo model saves both. Others call this before their event loop runs.
    """
    from cmw_agent.llm.coalesced_model import CoalescedChatOpenAI  # noqa: PLC0415

    return CoalescedChatOpenAI


@contextlib.asynccontextmanager
async def open_model(settings: Settings, interval: FlushInterval) -> AsyncIterator[BaseChatModel]:
    """Yield the app's one chat model, and close its connections at the end.

    Args:
        settings: Endpoint and model; the demo model where they name none.
        interval: Time between two updates of a stream, shared by all streams.
    """
    if settings.demo:
        yield DemoModel(pause=settings.demo_pause)
        return
    model_class = import_model_class()
    key = settings.openai_api_key
    base_url = settings.openai_base_url or "https://api.openai.com/v1"
    upstream = Upstream(
        base_url,
        key=key.get_secret_value() if key is not None else None,
        read_seconds=settings.model_timeout,
        # More connections than turns, so that no turn waits for the pool.
        connections=settings.max_turns * 2,
        headers=settings.openai_headers(),
    )
    completions = CoalescedCompletions(upstream, interval)
    try:
        yield model_class(
            model_name=settings.model,
            openai_api_base=base_url,
            openai_api_key=SecretStr("unused"),
            # Without both, LangChain makes an unused openai client with certificates and a key.
            client=completions,
            async_client=completions,
            streaming=True,
            stream_usage=settings.stream_usage,
            # Each read already has a time-out, so LangChain need not set a timer for each chunk.
            stream_chunk_timeout=None,
            use_responses_api=False,
        )
    finally:
        await upstream.close()
