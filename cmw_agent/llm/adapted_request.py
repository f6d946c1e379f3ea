"""A request that is changed where the endpoint refuses a part of it."""

from collections.abc import Collection, Mapping
from typing import Any

import orjson

from cmw_agent.llm.adaptation import Adaptation, apply, named
from cmw_agent.llm.errors import UpstreamError

MAX_ADAPTATIONS = 6  # of one request, besides those that were learned before


class AdaptedRequest:
    """One request to an endpoint, without the parts that the endpoint refuses.

    Args:
        payload: The request as the app wants it.
        learned: Parts that the endpoint is known to refuse.
        adapts: Whether parts may be left out.

    Attributes:
        body: The request as JSON.
        applied: The parts that are left out.
        streams: Whether it asks for a stream.
    """

    def __init__(
        self, payload: Mapping[str, Any], learned: Collection[Adaptation], *, adapts: bool
    ) -> None:
        self._payload = payload
        self._left = MAX_ADAPTATIONS if adapts else 0
        self.applied = tuple(learned)
        self._encode()

    def _encode(self) -> None:
        payload = apply(self._payload, self.applied) if self.applied else self._payload
        self.streams = bool(payload.get("stream", True))
        self.body = orjson.dumps(payload)

    def refused_part(self, error: BaseException) -> Adaptation | None:
        """Return the part that `error` names and that can be left out now; None for no part."""
        if not self._left or not isinstance(error, UpstreamError) or error.details is None:
            return None
        part = named(error.details, orjson.loads(self.body))
        return None if part in self.applied else part

    def adapt(self, error: UpstreamError) -> bool:
        """Leave out the part that `error` names; return False where it names none."""
        part = self.refused_part(error)
        if part is None:
            return False
        self._left -= 1
        self.applied = (*self.applied, part)
        self._encode()
        return True
