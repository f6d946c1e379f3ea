"""Records a stored turn: its tape, the header of its cassette, and its end."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cmw_agent.chat.answer import AnswerAccumulator
from cmw_agent.config.agent_profiles import AgentProfile
from cmw_agent.config.model_profiles import ModelProfile, Models
from cmw_agent.core.events import TurnFinished
from cmw_agent.llm.fallback import RunModels
from cmw_agent.recording.recorder import Recorder
from memory.records import TurnTicket

# What of a model's profile forms its requests; its key, headers and price are left out.
SHAPING = tuple(
    each.name
    for each in fields(ModelProfile)
    if each.name not in ("api_key", "extra_headers", "price", "base_url", "fallback")
)


class TurnRecording:
    """The recording of one turn of one owner.

    Args:
        recorder: Writes it.
        owner: Whose turn it is.
        ticket: The turn's.
        profile: The agent's.
        models: The profiles of all models.
        line: The models of the run.
        language: The reader's.
    """

    def __init__(
        self,
        recorder: Recorder,
        owner: str,
        ticket: TurnTicket,
        profile: AgentProfile,
        models: Models,
        line: RunModels,
        language: str,
    ) -> None:
        self.tape = recorder.turn(owner)
        self._recorder = recorder
        self._ticket = ticket
        self._header = {
            "question": ticket.user_seq,
            "answer": ticket.answer_seq,
            "agent": profile.id,
            "graph": profile.graph,
            "uses_model": profile.uses_model,
            "language": language,
            "models": [
                {
                    **_shape(models.by_id[bound.id]),
                    "fields": dict(bound.fields),
                    "budget": bound.budget,
                }
                for bound in line.line
            ],
        }

    async def save(self, finished: TurnFinished, answer: AnswerAccumulator) -> Path | None:
        """Write the cassette; return its file, None where there is none, or none could be written."""
        if not self.tape.has_begun:
            return None
        self.tape.add("answer", **answer_fields(finished, answer))
        ticket = self._ticket
        return await self._recorder.save(
            self.tape, ticket.conversation_id, ticket.turn_id, self._header
        )

    async def drop(self, path: Path) -> None:
        """Delete the cassette."""
        await self._recorder.drop(path)


def answer_fields(finished: TurnFinished, answer: AnswerAccumulator) -> dict[str, Any]:
    """Return what a cassette says of an answer."""
    return {
        "outcome": finished.outcome,
        "finish_reason": finished.finish_reason,
        "failed": finished.error_id is not None,
        "text": answer.text,
        "thinking": answer.thinking,
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
    }


def _shape(profile: ModelProfile) -> Mapping[str, Any]:
    shaping = {name: getattr(profile, name) for name in SHAPING}
    shaping["extra_body"] = dict(profile.extra_body)
    url = urlsplit(profile.base_url) if profile.base_url else None
    return {**shaping, "origin": f"{url.scheme}://{url.hostname}" if url else None}
