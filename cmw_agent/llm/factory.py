"""Builds the chat model from the settings."""

import contextlib
from collections.abc import AsyncIterator

from langchain_core.language_models import BaseChatModel

from cmw_agent.config.model_loader import load_models
from cmw_agent.config.settings import Settings
from cmw_agent.llm.catalog import open_models
from cmw_agent.llm.coalescing import FlushInterval


@contextlib.asynccontextmanager
async def open_model(settings: Settings, interval: FlushInterval) -> AsyncIterator[BaseChatModel]:
    """Yield the settings' first model alone, and close its connections at the end.

    Args:
        settings: Endpoint and model; the demo model where they name none.
        interval: Time between two updates of a stream, shared by all streams.
    """
    async with open_models(settings, load_models(settings), interval) as catalog:
        yield catalog.default
