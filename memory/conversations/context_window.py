"""Which messages of a conversation the model sees. Pure: rows and a token budget in, rows out.

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
    """About how many tokens a text has, rounded up."""
    if text.isascii():
        return -(-len(text) // 4)
    ascii_length = len(text.encode("ascii", "ignore"))
    other_bytes = len(text.encode()) - ascii_length
    return -(-ascii_length // 4) + -(-other_bytes // 2)


def cost(message: ContextMessage) -> int:
    """About how many tokens a message takes in the model's input."""
    return MESSAGE_TOKENS + tokens_in(message.content)


def most_rows(budget: int) -> int:
    """How many messages a budget can hold at most; at least one exchange."""
    return max(budget // TOKENS_PER_ROW, 2)


def exceeds(newest_first: Sequence[ContextMessage], budget: int) -> bool:
    """Whether these messages alone use up the budget, so that older ones cannot matter."""
    return sum(cost(message) for message in newest_first if message.content) > budget


def fit(newest_first: Sequence[ContextMessage], budget: int) -> list[ContextMessage]:
    """The newest exchanges that fit into `budget` tokens, oldest first.

    An exchange is a user's message with its answer and goes in whole or not at all, except that
    the newest user message is always there, however long. Answers without text are left out; an
    interrupted one stays with the part that came.
    """
    kept: list[list[ContextMessage]] = []
    left = budget
    for exchange in _exchanges(newest_first):
        left -= sum(map(cost, exchange))
        if left < 0:
            kept = kept or [exchange[:1]]
            break
        kept.append(exchange)
    return [message for exchange in reversed(kept) for message in exchange]


def surplus(said: Sequence[ContextMessage], tokens: int, budget: int) -> tuple[int, int]:
    """How many of the oldest messages go, and the cost of the rest, which `fit` would return.

    Its work is that of what goes, however much stays.

    Args:
        said: What `fit` has returned once, with what was said since, oldest first: it begins with
            a question, ends with one, and has no empty answers.
        tokens: The cost of all of it.
        budget: As for `fit`, which is to see at most `most_rows` of the messages.
    """
    gone, most = 0, most_rows(budget)
    while tokens > budget or len(said) - gone > most:
        end = gone + 1
        while end < len(said) and said[end].role != "user":
            end += 1
        if end >= len(said):  # the newest question stays
            break
        tokens -= sum(map(cost, said[gone:end]))
        gone = end
    return gone, tokens


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
