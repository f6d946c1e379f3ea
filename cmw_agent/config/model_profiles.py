"""Model profiles: each model's endpoint, key, limits, sampling and abilities."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from cmw_agent.config.validators import Price

if TYPE_CHECKING:
    from cmw_agent.config.agent_profiles import AgentProfile

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
        is_demo: Whether the built-in demo answers, because no endpoint is set.
        takes_visitor_key: Whether requests carry a visitor's own key where the run has one: it is
            at the settings' endpoint and has no key of its own in the file.
        needs_visitor_key: Whether requests carry no other.
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
    is_demo: bool = False
    takes_visitor_key: bool = False
    needs_visitor_key: bool = False


@dataclass(frozen=True, slots=True)
class Models:
    """The profiles of all models; every decision about which model answers is made here.

    Attributes:
        by_id: The profiles by id, in the order in which they are offered.
        default: Id of the model that answers where neither agent nor user chose one.
    """

    by_id: Mapping[str, ModelProfile]
    default: str

    @property
    def is_demo(self) -> bool:
        """Whether the demo model answers where no other is chosen."""
        return self.by_id[self.default].is_demo

    def answers_as_demo(self, agent: "AgentProfile | None") -> bool:
        """Return whether the demo model answers where `agent` does and no other model is chosen.

        Args:
            agent: None for no particular one.
        """
        if agent is None:
            return self.is_demo
        return agent.uses_model and self.by_id[agent.model].is_demo

    @property
    def prices(self) -> tuple[Price, ...]:
        """The prices of all models that have one, under their ids."""
        return tuple(
            replace(profile.price, model=name)
            for name, profile in self.by_id.items()
            if profile.price is not None
        )

    def choose(self, agent: "AgentProfile", *chosen: object) -> str:
        """Return the id of the first of the models `chosen` that is open, or of the agent's."""
        usable = (
            name
            for name in chosen
            if isinstance(name, str) and name in self.by_id and name not in agent.closed_models
        )
        return next(usable, agent.model)

    def choices(self, agent: "AgentProfile") -> list[tuple[str, bool]]:
        """Return the ids of all models, the agent's first, each with whether it has an effort."""
        ids = dict.fromkeys((agent.model, *self.by_id))
        return [(name, self.tuned(agent, name).effort is not None) for name in ids]

    def tuned(
        self, agent: "AgentProfile", model: str, effort: Effort | None = None
    ) -> ModelProfile:
        """Return a model's profile with what an agent sets of it.

        Args:
            agent: Its values win over the model's. Its effort holds for its own model, and for
                others that have one.
            model: Id of the model.
            effort: The user's choice; passed over where the model has none.
        """
        profile = self.by_id[model]
        changes: dict[str, Any] = {}
        for name in ("temperature", "top_p", "seed", "output_tokens"):
            if (value := getattr(agent, name)) is not None:
                changes[name] = value
        has_effort = profile.effort is not None or (
            model == agent.model and agent.effort is not None
        )
        if has_effort:
            changes["effort"] = effort or agent.effort or profile.effort
        return replace(profile, **changes) if changes else profile

    def line(self, agent: "AgentProfile", model: str) -> tuple[str, ...]:
        """Return the ids of the models that answer one after the other: `model`, its fallback."""
        fallback = agent.fallback if agent.fallback is not None else self.by_id[model].fallback
        return tuple(dict.fromkeys((model, *fallback)))
