"""Model profiles: each model's endpoint, key, limits, sampling and abilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import SecretStr

from cmw_agent.config.validators import Price

Api = Literal["chat", "responses"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """Configuration of one model.

    Attributes:
        id: Its name for users, and for the endpoint unless `name` says otherwise.
        name: Its name at the endpoint.
        base_url: Address of the endpoint; None for OpenAI's own.
        api_key: Key of the endpoint.
        api: The interface in which the endpoint is asked.
        context_tokens: Tokens that the model reads at most; None where the settings decide.
        output_tokens: Tokens that an answer may have; None where the endpoint decides.
        temperature: Sampling temperature.
        top_p: Probability mass of sampling.
        seed: Seed of sampling.
        effort: How much the model thinks.
        extra_body: Further fields of each request.
        extra_headers: Further headers of each request.
        has_tools: Whether the model is offered tools.
        has_vision: Whether it is sent pictures.
        has_system: Whether its template knows the system role.
        text_calls: Whether it writes tool calls as text, such as ``<tool_call>…</tool_call>``.
        silence: Seconds without a sign of life after which a call fails.
        price: Its price.
        fallback: Ids of the models that answer, one after the other, where this one fails.
    """

    id: str
    name: str
    base_url: str | None = None
    api_key: SecretStr | None = field(default=None, repr=False)
    api: Api = "chat"
    context_tokens: int | None = None
    output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    effort: Effort | None = None
    extra_body: Mapping[str, Any] = field(default_factory=lambda: NO_FIELDS)
    extra_headers: Mapping[str, str] = field(default_factory=lambda: NO_FIELDS, repr=False)
    has_tools: bool = True
    has_vision: bool = True
    has_system: bool = True
    text_calls: bool = False
    silence: float = 600.0
    price: Price | None = None
    fallback: tuple[str, ...] = ()
