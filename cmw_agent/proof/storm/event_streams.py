"""Reads a response's server-sent events as they come."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.joined_texts import JoinedTexts


async def events(response: httpx.Response, texts: JoinedTexts) -> AsyncGenerator[Any]:
    """Yield the JSON values of a stream's ``data:`` lines; what is no JSON is searched, not yielded.

    Raises:
        TargetError: More bytes came than a response may have.
    """
    line = b""
    async for chunk in response.aiter_bytes():
        texts.feed(chunk)
        if texts.is_full:
            raise TargetError("an event stream had more bytes than a response may have")
        *lines, line = (line + chunk).split(b"\n")
        for whole in lines:
            value = _value(whole)
            if value is not None:
                texts.event(value)
                yield value


def _value(line: bytes) -> Any:
    if not line.startswith(b"data:"):
        return None
    try:
        return json.loads(line[5:])
    except ValueError:
        return None
