"""Asks an endpoint as one model's profile says: what the model does not know is left out."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from cmw_agent.config.model_profiles import ModelProfile
from cmw_agent.llm.adaptation import Adaptation, apply
from cmw_agent.llm.coalescing import CoalescedCompletions, CoalescedStream, FlushInterval
from cmw_agent.llm.endpoint import AZURE
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.message_forms import decoded
from cmw_agent.llm.responses_api import ResponsesReader
from cmw_agent.llm.responses_request import responses_request
from cmw_agent.llm.retries import RetryBudget
from cmw_agent.recording.tape import RunTape

# Abilities of a profile, and what is left out of requests where a model lacks them.
ABILITIES = MappingProxyType(
    {
        "has_tools": Adaptation.TOOLS,
        "has_vision": Adaptation.IMAGES,
        "has_system": Adaptation.SYSTEM,
    }
)
# Hosts that refuse `max_tokens` for newer models; others often know nothing else.
NEW_LIMIT_HOSTS = ("api.openai.com", *AZURE)
NEW_LIMIT = "max_completion_tokens"
LIMITS = (NEW_LIMIT, "max_tokens")  # the first one that a caller names counts
SAMPLING = MappingProxyType(
    {"temperature": "temperature", "top_p": "top_p", "seed": "seed", "effort": "reasoning_effort"}
)


class ProfiledCompletions(CoalescedCompletions):
    """Streams completions of one model; it holds nothing of any user.

    Args:
        upstream: Client of the model's endpoint.
        interval: Shared by all streams of the process.
        profile: The model's profile.
    """

    def __init__(self, upstream: Upstream, interval: FlushInterval, profile: ModelProfile) -> None:
        super().__init__(upstream, interval)
        self._profile = profile

    async def create(
        self, *, budget: RetryBudget | None = None, tape: RunTape | None = None, **payload: Any
    ) -> CoalescedStream:
        """Return a coalesced stream, as `CoalescedCompletions.create`."""
        if not payload.get("stream"):
            raise ValueError("this app only asks for streamed answers")
        profile = self._profile
        translate = ResponsesReader() if profile.api == "responses" else None
        return CoalescedStream(
            self._upstream,
            _shaped(payload, profile),
            self._interval,
            silence=profile.silence,
            translate=translate,
            budget=budget,
            visitor_key=self._visitor_key,
            tape=tape,
        )

    async def probe(self, **payload: Any) -> None:
        """Ask for a stream, as `CoalescedCompletions.probe`, in the model's interface."""
        await super().probe(**_shaped(payload, self._profile))


def profile_fields(profile: ModelProfile) -> dict[str, Any]:
    """Return the fields of each request that a model's profile sets."""
    fields: dict[str, Any] = {
        field: value
        for name, field in SAMPLING.items()
        if (value := getattr(profile, name)) is not None
    }
    if profile.output_tokens is not None:
        fields[limit_field(profile.base_url)] = profile.output_tokens
    return {**fields, **profile.extra_body}


def requested_fields(profile: ModelProfile, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of requests that a caller's parameters set at a model's endpoint.

    Args:
        profile: The model's profile, whose bound of an answer's tokens no caller raises.
        parameters: Parameters of a chat completion.
    """
    fields = {name: value for name, value in parameters.items() if name not in LIMITS}
    requested = [parameters[name] for name in LIMITS if parameters.get(name) is not None]
    if requested:
        tokens = min(requested[0], profile.output_tokens or requested[0])
        fields[limit_field(profile.base_url)] = tokens
    return fields


def limit_field(base_url: str | None) -> str:
    """Return the name of the field that bounds the tokens of an answer at an endpoint."""
    host = (urlsplit(base_url).hostname or "") if base_url else NEW_LIMIT_HOSTS[0]
    return NEW_LIMIT if host.endswith(NEW_LIMIT_HOSTS) else "max_tokens"


def _shaped(payload: Mapping[str, Any], profile: ModelProfile) -> dict[str, Any]:
    """Return a request without what the model lacks, in its interface."""
    shaped = apply(
        payload, [part for name, part in ABILITIES.items() if not getattr(profile, name)]
    )
    # LangChain writes the newer name, also for endpoints that know the older one alone.
    name = limit_field(profile.base_url)
    if NEW_LIMIT in shaped and name != NEW_LIMIT and NEW_LIMIT not in profile.extra_body:
        rest = {field: value for field, value in shaped.items() if field != NEW_LIMIT}
        shaped = {**rest, name: shaped[NEW_LIMIT]}
    if profile.api == "chat":
        return shaped
    return responses_request({**shaped, "messages": decoded(shaped["messages"])})
