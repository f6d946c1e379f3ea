"""Estimates the tokens of a model call for which the server reported no usage.

No tokenizer is used; the estimate is close enough to charge for. See
`memory.conversations.context_window.tokens_in`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from cmw_agent.llm.errors import StreamSilentError
from memory.conversations.context_window import MESSAGE_TOKENS, tokens_in

IMAGE_TOKENS = 1_000  # per image, whatever its size
BYTES_PER_TOKEN = 4  # of JSON


def is_chargeable(error: BaseException, *, has_begun: bool) -> bool:
    """Return whether the server has spent tokens on a call that ended with `error`.

    Args:
        error: The exception that ended the call.
        has_begun: Whether part of the answer arrived. Before that, a server that refuses has
            spent nothing, but one whose call was cancelled or timed out was at work.
    """
    cancelled = not isinstance(error, Exception)
    return has_begun or cancelled or isinstance(error, StreamSilentError | TimeoutError)


def prompt_tokens(contents: Iterable[Any], tools: Iterable[Any] = ()) -> int:
    """Return the estimated number of tokens of a request.

    Args:
        contents: The content of each message: a text or a list of OpenAI's content parts.
        tools: The schemas of the tools, as JSON values.
    """
    tokens = sum(MESSAGE_TOKENS + _content_tokens(content) for content in contents)
    return tokens + sum(len(orjson.dumps(tool)) // BYTES_PER_TOKEN for tool in tools)


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return tokens_in(content)
    parts = content if isinstance(content, list) else ()
    return sum(_part_tokens(part) for part in parts)


def _part_tokens(part: Any) -> int:
    if isinstance(part, Mapping):
        text = part.get("text")
        return tokens_in(text) if isinstance(text, str) else IMAGE_TOKENS
    return tokens_in(part) if isinstance(part, str) else 0
