"""Chooses the messages of a conversation that fit into a token budget. Pure functions.

Tokens are estimated without a tokenizer: four ASCII characters to a token, and for everything
else one token for two bytes of UTF-8, which is on the safe side for Cyrillic, Chinese and emoji.
Only texts count, since only they are shown to the model again.
"""

from collections.abc import Iterator, Sequence

from memory.records import ContextMessage

# what a message costs beside its text: role, separators
MESSAGE_TOKENS = 4
# how many rows a budget is worth: a chat of one-word messages would otherwise read, and have the
# model read, thousands of them
TOKENS_PER_ROW = 80


def tokens_in(text: str) -> int:
    """Return an estimate of the tokens of a text, rounded up."""
    if text.isascii():
        return -(-len(text) // 4)
    ascii_length = len(text.encode("ascii", "ignore"))
    other_bytes = len(text.encode()) - ascii_length
    return -(-ascii_length // 4) + -(-other_bytes // 2)


def cost(message: ContextMessage) -> int:
    """Return an estimate of the tokens of a message in the model's input."""
    return MESSAGE_TOKENS + tokens_in(message.content)


def max_rows(budget: int) -> int:
    """Return how many messages a budget can hold at most; at least one exchange."""
    return max(budget // TOKENS_PER_ROW, 2)


def exceeds(newest_first: Sequence[ContextMessage], budget: int) -> bool:
    """Return whether these messages alone exceed the budget, so that older ones cannot fit."""
    return sum(cost(message) for message in newest_first if message.content) > budget


def fit(newest_first: Sequence[ContextMessage], budget: int) -> list[ContextMessage]:
    """Return the newest exchanges that fit into `budget` tokens, oldest first.

    An exchange is a user's message with its answer and goes in whole or not at all, except that
    the newest user message is always there, however long. Answers without text are left out; an
    interrupted one stays with the part that came.
    """
    exchanges: list[list[ContextMessage]] = []
    remaining = budget
    for exchange in _exchanges(newest_first):
        remaining -= sum(map(cost, exchange))
        if remaining < 0:
            exchanges = exchanges or [exchange[:1]]
            break
        exchanges.append(exchange)
    return [message for exchange in reversed(exchanges) for message in exchange]


def surplus(said: Sequence[ContextMessage], tokens: int, budget: int) -> tuple[int, int]:
    """Return how many of the oldest messages to drop so that `fit` would return the rest.

    The second value is the cost of the rest in tokens.

    The work is proportional to what is dropped.

    Args:
        said: An earlier result of `fit` with the messages since, oldest first: it begins and ends
            with a question and has no empty answers.
        tokens: The cost of all of it.
        budget: As for `fit`, which is to see at most `max_rows` of the messages.
    """
    dropped, max_messages = 0, max_rows(budget)
    while tokens > budget or len(said) - dropped > max_messages:
        end = dropped + 1
        while end < len(said) and said[end].role != "user":
            end += 1
        if end >= len(said):  # the newest question stays
            break
        tokens -= sum(map(cost, said[dropped:end]))
        dropped = end
    return dropped, tokens


def _exchanges(newest_first: Sequence[ContextMessage]) -> Iterator[list[ContextMessage]]:
    """Newest first; within each, the user's message and then its answer.

    Answers whose question was not read belong to no exchange.
    """
    answers: list[ContextMessage] = []
    for message in newest_first:
        if message.role == "user":
            yield [message, *reversed(answers)]
            answers = []
        elif message.content:
            answers.append(message)
