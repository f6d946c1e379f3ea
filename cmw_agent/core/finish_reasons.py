"""What users read where the model's server did not end its answer well."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast, get_args

from cmw_agent.core.events import FinishReason
from cmw_agent.language import joined, wording

SENTENCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": wording("The answer was cut at the model's limit; send “Continue” to go on."),
        "content_filter": wording("The model's provider withheld the rest of this answer."),
        "error": wording(
            "The model's server reported an error at the end of the answer; it may be incomplete."
        ),
        "missing": wording("The model's server did not say whether this answer is complete."),
    }
)


def sentence_for(finish_reason: str | None, note: str | None = None) -> str | None:
    """Return what a user reads below an answer that ended so; None where there is nothing to say.

    Args:
        finish_reason: A `FinishReason`, as it is stored with the answer.
        note: A further sentence, as it is stored with the answer.
    """
    return joined(SENTENCES.get(finish_reason or ""), note) or None


def known_reason(stored: str | None) -> FinishReason | None:
    """Return a stored finish reason; None where this version knows no such reason."""
    return cast("FinishReason", stored) if stored in get_args(FinishReason) else None
