"""The models of the settings that work for a scenario itself."""

import asyncio
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.core.errors import ModelFailedError, StartupError
from cmw_agent.language import languages
from cmw_agent.llm.catalog import ModelCatalog
from cmw_agent.llm.chat_model import HistoryMessage, complete_history
from cmw_agent.llm.errors import UpstreamError
from cmw_agent.llm.run_events import RunEvents

MAX_SECONDS = 120.0
NO_TOOLS: tuple[Any, ...] = ()


class NoReplyError(Exception):
    """A model of the scenario gave no reply; the text says why."""


class ScenarioModels:
    """Asks models of the settings, each with a seed.

    Args:
        catalog: The models.
    """

    def __init__(self, catalog: ModelCatalog) -> None:
        self._catalog = catalog

    def check(self, model: str | None, purpose: str) -> None:
        """Refuse a model that the settings do not name, and the demo model.

        Raises:
            StartupError: It is one of them.
        """
        models = self._catalog.models
        profile = models.by_id.get(model or models.default)
        if profile is None:
            known = ", ".join(models.by_id)
            raise StartupError(f"{purpose} needs a model of the settings ({known}), not {model!r}")
        if profile.is_demo:
            raise StartupError(f"{purpose} needs a model; the demo model cannot do it")

    async def reply(
        self,
        owner: str,
        model: str | None,
        instructions: str,
        history: Sequence[HistoryMessage],
        parameters: MappingProxyType[str, Any],
    ) -> str:
        """Return what a model says next.

        Args:
            owner: Id of the principal that the scenario's user is.
            model: Its id; None for the default.
            instructions: Its system prompt.
            history: The conversation so far, the user's message last.
            parameters: Parameters of the completion, such as `seed`.

        Raises:
            NoReplyError: There is none.
        """
        name = model or self._catalog.models.default
        profile = AgentProfile("scenario", "scenario", instructions, name, (), frozenset())
        language = languages().english
        run = self._catalog.run(owner, profile, name, None, parameters, language=language)
        events = RunEvents(lambda event: None, owner)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                message = await complete_history(run, instructions, history, NO_TOOLS, events)
        except (UpstreamError, ModelFailedError, TimeoutError) as error:
            raise NoReplyError(
                f"the model {name} did not answer ({type(error).__name__})"
            ) from error
        return str(message.text)
