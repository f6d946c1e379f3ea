"""Ratings of answers as users give them: like or dislike, a reason and a comment."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, get_args

from cmw_agent.core.errors import InvalidMessageError
from cmw_agent.language import wording
from memory.records import MAX_COMMENT_CHARS, Feedback, FeedbackReason, RatingExplanation

RATINGS: Final[Mapping[str, Feedback]] = MappingProxyType(
    {name: name for name in get_args(Feedback)}
)
REASONS: Final[Mapping[str, FeedbackReason]] = MappingProxyType(
    {name: name for name in get_args(FeedbackReason)}
)
NO_RATING = wording("An answer is rated as like or dislike, or with null as neither.")
NO_REASON = wording("A dislike may have one of these reasons: {names}.", names=", ".join(REASONS))
NO_COMMENT = wording(
    "A comment on a rating is a text of at most {count} characters.", count=MAX_COMMENT_CHARS
)


def feedback_of(rating: object) -> Feedback | None:
    """Return the feedback that a request names; None where it takes a rating back.

    Raises:
        InvalidMessageError: It names none.
    """
    if rating is None:
        return None
    if not isinstance(rating, str) or rating not in RATINGS:
        raise InvalidMessageError(NO_RATING)
    return RATINGS[rating]


def explanation_of(
    feedback: Feedback | None, reason: object, comment: object
) -> RatingExplanation | None:
    """Return why a request rates an answer as it does.

    Args:
        feedback: The rating that it gives.
        reason: A name of `REASONS`, of a dislike alone; None for none.
        comment: A text; None for none.

    Returns:
        None where the request takes the rating back.

    Raises:
        InvalidMessageError: The reason or the comment cannot be one.
    """
    if reason is not None and (
        feedback != "dislike" or not isinstance(reason, str) or reason not in REASONS
    ):
        raise InvalidMessageError(NO_REASON)
    is_text = isinstance(comment, str) and len(comment) <= MAX_COMMENT_CHARS
    if comment is not None and (feedback is None or not is_text):
        raise InvalidMessageError(NO_COMMENT)
    if feedback is None:
        return None
    written = comment.strip() if isinstance(comment, str) else ""
    return RatingExplanation(REASONS[reason] if isinstance(reason, str) else None, written or None)
