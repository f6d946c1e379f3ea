"""Chooses a conversation's model and effort; the user's choice is stored with the conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.model_profiles import Effort, Models
from cmw_agent.config.model_values import EFFORTS

MODEL, EFFORT = "model", "effort"  # in the context of a conversation
AUTO: Literal["auto"] = "auto"  # the effort that takes an earlier choice back


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A model, and how much it thinks.

    Args:
        model: The model's id; None where none was chosen.
        effort: `AUTO` for what its profile says; None where none was chosen.
    """

    model: str | None = None
    effort: Effort | Literal["auto"] | None = None

    @property
    def requested_effort(self) -> Effort | None:
        """The effort to ask for; None for what the model's profile says."""
        return None if self.effort == AUTO else self.effort

    @classmethod
    def of(cls, model: object, effort: object) -> "ModelChoice":
        """Return what a request or a conversation's context says; other values count as none."""
        return cls(
            model if isinstance(model, str) and model else None,
            next((known for known in (*EFFORTS, AUTO) if known == effort), None),
        )

    def context(self, models: Models, agent: AgentProfile) -> dict[str, Any]:
        """Return what a conversation that begins with this choice keeps."""
        changes: dict[str, Any] = {}
        if self.model is not None:
            changes[MODEL] = models.choose(agent, self.model)
        if self.requested_effort is not None:
            changes[EFFORT] = self.requested_effort
        return changes


def settle(
    models: Models, agent: AgentProfile, chosen: ModelChoice, context: Mapping[str, Any]
) -> tuple[str, Effort | None, dict[str, Any]]:
    """Return the model's id, the effort, and what of the conversation's context changes.

    Args:
        models: All models.
        agent: The conversation's agent.
        chosen: What the user chose with the message.
        context: What the conversation keeps.
    """
    stored = ModelChoice.of(context.get(MODEL), context.get(EFFORT))
    model = models.choose(agent, chosen.model, stored.model)
    changes: dict[str, Any] = {}
    if chosen.model is not None and model != models.choose(agent, stored.model):
        changes[MODEL] = model
    effort = chosen.requested_effort if chosen.effort else stored.requested_effort
    if effort != stored.effort:
        changes[EFFORT] = effort
    return model, effort, changes
