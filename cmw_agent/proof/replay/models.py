"""The models of a recorded run: the app's own client, over a cassette in place of the network."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from cmw_agent.config.model_loader import OPENAI_URL
from cmw_agent.config.model_profiles import ModelProfile
from cmw_agent.config.settings import Settings
from cmw_agent.language import languages
from cmw_agent.llm.adaptation import Adaptation
from cmw_agent.llm.catalog import PATHS, endpoint_model
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.demo_model import DemoModel
from cmw_agent.llm.fallback import BoundModel, RunModels
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.profiled_completions import ProfiledCompletions
from cmw_agent.proof.replay.tape import CassetteEndpoint, ReplayTape


class NoInterval(FlushInterval):
    """Waits for nothing: each read is a recorded one, merged as it was."""

    async def wait(self) -> None:
        """Return at once."""


@contextlib.asynccontextmanager
async def recorded_models(settings: Settings, tape: ReplayTape) -> AsyncIterator[RunModels]:
    """Yield the models of a turn, which ask its cassette.

    Args:
        settings: The app's, with what the recording says of its own.
        tape: The turn's.
    """
    header = tape.cassette.header
    async with contextlib.AsyncExitStack() as stack:
        line = []
        for shape in header["models"]:
            if shape["is_demo"]:
                language = languages().of(header["language"])
                model: Any = DemoModel(pause=0).in_language(language)
            else:
                model = await _model(settings, tape, _profile(shape), stack)
            line.append(BoundModel(shape["id"], model, shape["fields"], shape["budget"]))
        yield RunModels(line)


async def _model(
    settings: Settings, tape: ReplayTape, profile: ModelProfile, stack: contextlib.AsyncExitStack
) -> Any:
    upstream = Upstream(
        profile.base_url or OPENAI_URL,
        key=None,
        read_seconds=settings.model_timeout,
        connections=1,
        path=PATHS[profile.api],
        endpoint=CassetteEndpoint(tape),
    )
    stack.push_async_callback(upstream.close)
    exchanges = tape.cassette.exchanges
    first = next((each for each in exchanges if each.model == profile.name), None)
    if first is not None:
        upstream.learn(profile.name, tuple(map(Adaptation, first.left_out)))
    return endpoint_model(settings, profile, ProfiledCompletions(upstream, NoInterval(), profile))


def _profile(shape: dict[str, Any]) -> ModelProfile:
    unchanged = ("fields", "budget", "origin")
    return ModelProfile(
        **{name: value for name, value in shape.items() if name not in unchanged},
        base_url=shape["origin"],
    )
