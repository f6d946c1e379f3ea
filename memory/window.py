"""Which messages of a conversation the model sees. Pure: rows and a token budget in, rows out.

Tokens are estimated without a tokenizer: four ASCII characters to a token, and for everything
else one token for two bytes of UTF-8, which is on the safe side for Cyrillic, Chinese and emoji.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from memory.records import StoredMessage

# what a message costs beside its text: role, separators
MESSAGE_TOKENS = 4


def tokens_in(text: str) -> int:
    """About how many tokens a text has, rounded up."""
    ascii_length = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    other_bytes = 0 if ascii_length == len(text) else len(text.encode()) - ascii_length
    return -(-ascii_length // 4) + -(-other_bytes // 2)


def spoken_cost(message: StoredMessage) -> int:
    """Tokens of a message without its tool calls."""
    return MESSAGE_TOKENS + tokens_in(message.content)


def cost(message: StoredMessage) -> int:
    """Tokens of a message with the arguments and results of its tool calls."""
    return spoken_cost(message) + sum(
        2 * MESSAGE_TOKENS
        + tokens_in(call.name)
        + tokens_in(json.dumps(call.arguments, ensure_ascii=False))
        + tokens_in(call.result)
        for call in message.tool_calls
    )


def rows_needed(budget: int) -> int:
    """The most rows that can matter to a budget.

    Each question costs something, and each may have an empty answer that costs nothing.
    """
    return 2 * (max(budget, 0) // MESSAGE_TOKENS + 1)


def exceeds(newest_first: Sequence[StoredMessage], budget: int) -> bool:
    """Whether these rows alone use up the budget, so that older ones cannot matter."""
    return sum(spoken_cost(message) for message in newest_first if message.content) > budget


def fit(newest_first: Sequence[StoredMessage], budget: int) -> list[StoredMessage]:
    """The newest exchanges that fit into `budget` tokens, oldest first.

    An exchange is a user's message with its answer, and goes in whole or not at all; where only
    the tool calls of the answer are too much, it goes in without them. The newest user message
    is always there, however long. Answers with neither text nor tool calls are left out; what was
    interrupted stays with the part that came.
    """
    kept: list[StoredMessage] = []
    left = budget
    for exchange in _exchanges(newest_first):
        fitting = next((form for form in _forms(exchange) if _total(form) <= left), None)
        if fitting is None:
            if not kept:
                kept = exchange[:1]
            break
        kept = fitting + kept
        left -= _total(fitting)
    return kept


def _exchanges(newest_first: Sequence[StoredMessage]) -> Iterator[list[StoredMessage]]:
    """Newest first; within each, the user's message and then its answer.

    Answers whose question was not read belong to no exchange.
    """
    answers: list[StoredMessage] = []
    for message in newest_first:
        if message.role == "user":
            yield [message, *answers]
            answers = []
        elif message.content or message.tool_calls:
            answers.insert(0, message)


def _forms(exchange: list[StoredMessage]) -> Iterator[list[StoredMessage]]:
    yield exchange
    question, *answers = exchange
    yield [question, *(replace(answer, tool_calls=()) for answer in answers if answer.content)]


def _total(messages: Sequence[StoredMessage]) -> int:
    return sum(cost(message) for message in messages)
