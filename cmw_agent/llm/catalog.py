"""The chat models of a process, by id, each bound to its endpoint; it holds nothing of any user."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.model_loader import OPENAI_URL
from cmw_agent.config.model_profiles import Api, Effort, ModelProfile, Models
from cmw_agent.config.settings import Settings
from cmw_agent.language import Language
from cmw_agent.llm.chat_model import NO_EXTRA_BODY, ExtraBody
from cmw_agent.llm.coalescing import FlushInterval
from cmw_agent.llm.demo_model import DemoModel
from cmw_agent.llm.fallback import BoundModel, RunModels
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.profiled_completions import (
    SAMPLING,
    ProfiledCompletions,
    limit_field,
    profile_fields,
    requested_fields,
)
from cmw_agent.llm.request_fields import RequestFields, probing

if TYPE_CHECKING:
    from cmw_agent.llm.coalesced_model import CoalescedChatOpenAI

PATHS: Mapping[Api, str] = MappingProxyType(
    {"chat": "/chat/completions", "responses": "/responses"}
)


EFFORT_FIELD = SAMPLING["effort"]


def import_model_class() -> "type[CoalescedChatOpenAI]":
    """Return the class of endpoints' models, whose import takes a second and 20 MB.

    A process with the demo model saves both. Others call this before their event loop runs.
    """
    from cmw_agent.llm.coalesced_model import CoalescedChatOpenAI  # noqa: PLC0415

    return CoalescedChatOpenAI


class VisitorKeyNeededError(Exception):
    """The model needs a visitor's own key, and the run has none."""


class ModelCatalog:
    """All models of a process.

    Args:
        models: Their profiles.
        chat_models: The chat model of each id.
        fields: The per-user fields of requests to each model's endpoint.
    """

    def __init__(
        self,
        models: Models,
        chat_models: Mapping[str, BaseChatModel],
        fields: Mapping[str, RequestFields],
    ) -> None:
        self.models = models
        self._chat_models = chat_models
        self._fields = fields

    @property
    def default(self) -> BaseChatModel:
        """The model that answers where neither agent nor user chose one."""
        return self._chat_models[self.models.default]

    def fields(self, model: str | None = None) -> RequestFields:
        """Return the per-user fields of requests to a model's endpoint; None for the default's."""
        return self._fields[model or self.models.default]

    def run(
        self,
        owner: str,
        agent: AgentProfile,
        model: str,
        effort: Effort | None = None,
        parameters: ExtraBody = NO_EXTRA_BODY,
        *,
        language: Language,
        visitor_key: SecretStr | None = None,
    ) -> RunModels:
        """Return the models of one run: the one that answers, then those that may replace it.

        A visitor's key is sent to the settings' endpoint alone, and no model with another key
        replaces one that has failed with it.

        Args:
            owner: Id of the principal; each endpoint is sent an opaque name of it.
            agent: The agent that answers.
            model: Id of the model that is asked first.
            language: The reader's, in which the demo answers.
            effort: The user's choice of how much it thinks, if any.
            parameters: Parameters of chat completions that the caller sets, such as `temperature`.
            visitor_key: The user's own key, if they have brought one.

        Raises:
            VisitorKeyNeededError: The model needs a visitor's own key.
        """
        profiles = [
            self.models.tuned(agent, name, effort) for name in self.models.line(agent, model)
        ]
        key = visitor_key if profiles[0].takes_visitor_key else None
        if profiles[0].needs_visitor_key and key is None and agent.uses_model:
            raise VisitorKeyNeededError
        line = [
            self._bound(owner, profile, parameters, language, key)
            for number, profile in enumerate(profiles)
            if not number or _may_replace(profile, key)
        ]
        return RunModels(line, has_visitor_key=key is not None)

    def short(self, bound: BoundModel, tokens: int, thinking_tokens: int) -> RunModels:
        """Return a model, without those that may replace it, whose answers are short.

        Args:
            bound: The model.
            tokens: The most tokens of an answer.
            thinking_tokens: The same for a model that thinks, whose thoughts count as tokens.
        """
        profile = self.models.by_id[bound.id]
        effort = EFFORT_FIELD in bound.fields
        limit = {limit_field(profile.base_url): thinking_tokens if effort else tokens}
        return RunModels([replace(bound, fields={**bound.fields, **limit})])

    def _bound(
        self,
        owner: str,
        profile: ModelProfile,
        parameters: ExtraBody,
        language: Language,
        visitor_key: SecretStr | None,
    ) -> BoundModel:
        fields = {**profile_fields(profile), **requested_fields(profile, parameters)}
        # The user's fields come last: neither profile nor caller replaces them.
        fields |= self._fields[profile.id].of(owner)
        model = self._chat_models[profile.id]
        if isinstance(model, DemoModel):
            model = model.in_language(language)
        elif visitor_key is not None:
            model = cast("CoalescedChatOpenAI", model).with_key(visitor_key)
        return BoundModel(profile.id, model, fields, _budget(profile))


def _may_replace(profile: ModelProfile, visitor_key: SecretStr | None) -> bool:
    """Whether a model may replace one whose requests carry this key, or the operator's."""
    if visitor_key is None:
        return not profile.needs_visitor_key
    return profile.takes_visitor_key


def _budget(profile: ModelProfile) -> int | None:
    """Return how many tokens of instructions and conversation a model gets; None for no bound."""
    if profile.context_tokens is None:
        return None
    answer = profile.output_tokens or profile.context_tokens // 4
    return max(profile.context_tokens - answer, profile.context_tokens // 8)


@contextlib.asynccontextmanager
async def open_models(
    settings: Settings, models: Models, interval: FlushInterval
) -> AsyncIterator[ModelCatalog]:
    """Yield the models; close their connections at the end.

    Args:
        settings: What holds for all models.
        models: Their profiles.
        interval: Time between two updates of a stream, shared by all streams.
    """
    async with contextlib.AsyncExitStack() as stack:
        endpoints = _Endpoints(settings, stack)
        chat_models: dict[str, BaseChatModel] = {}
        fields: dict[str, RequestFields] = {}
        default: ProfiledCompletions | None = None
        for name, profile in models.by_id.items():
            fields[name] = endpoints.fields(profile)
            if profile.is_demo:
                chat_models[name] = DemoModel(pause=settings.demo_pause)
                continue
            completions = ProfiledCompletions(endpoints.upstream(profile), interval, profile)
            chat_models[name] = endpoint_model(settings, profile, completions)
            default = completions if name == models.default else default
        is_asked = settings.user_field == "auto" and not settings.needs_visitor_key
        if is_asked and default is not None:
            name = models.by_id[models.default].name
            await stack.enter_async_context(probing(fields[models.default], default, name))
        yield ModelCatalog(models, chat_models, fields)


class _Endpoints:
    """Opens one client for all models with the same address, key, headers and interface."""

    def __init__(self, settings: Settings, stack: contextlib.AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._upstreams: dict[tuple[object, ...], Upstream] = {}
        self._fields: dict[str | None, RequestFields] = {}

    def upstream(self, profile: ModelProfile) -> Upstream:
        key = profile.api_key.get_secret_value() if profile.api_key is not None else None
        headers = tuple(sorted(profile.extra_headers.items()))
        same = (profile.base_url, key, headers, profile.api)
        if same not in self._upstreams:
            upstream = Upstream(
                profile.base_url or OPENAI_URL,
                key=key,
                read_seconds=self._settings.model_timeout,
                # More connections than turns, so that no turn waits for the pool.
                connections=self._settings.max_turns * 2,
                headers=profile.extra_headers,
                path=PATHS[profile.api],
            )
            self._stack.push_async_callback(upstream.close)
            self._upstreams[same] = upstream
        return self._upstreams[same]

    def fields(self, profile: ModelProfile) -> RequestFields:
        url = profile.base_url
        if url not in self._fields:
            is_default = url == self._settings.openai_base_url
            self._fields[url] = RequestFields(self._settings, "" if is_default else str(url))
        return self._fields[url]


def endpoint_model(
    settings: Settings, profile: ModelProfile, completions: ProfiledCompletions
) -> BaseChatModel:
    """Return the chat model of an endpoint.

    Args:
        settings: What holds for all models.
        profile: The model's.
        completions: Ask the endpoint.
    """
    model_class = import_model_class()
    return model_class(
        model_name=profile.name,
        openai_api_base=profile.base_url or OPENAI_URL,
        openai_api_key=SecretStr("unused"),
        # Without both, LangChain makes an unused openai client with certificates and a key.
        client=completions,
        async_client=completions,
        streaming=True,
        stream_usage=settings.stream_usage,
        # Each read already has a time-out, so LangChain need not set a timer for each chunk.
        stream_chunk_timeout=None,
        use_responses_api=False,
        text_calls=profile.text_calls,
    )
