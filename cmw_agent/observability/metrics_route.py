"""The route `/metrics`, for this machine or a bearer token only."""

import secrets
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cmw_agent.core.http_headers import bearer_token
from cmw_agent.observability.metrics import Metrics

# Behind a proxy on this machine everybody's connection comes from this machine.
FORWARDED = (
    *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    *("x-forwarded-port", "x-real-ip", "cf-connecting-ip", "true-client-ip"),
)


class MetricsRoute:
    """Serves metrics to this machine, or to a request with the token; to others a closed route.

    Args:
        metrics: The metrics to serve.
        token: The bearer token of the settings; None allows this machine only.
        closed: Returns the response of a route that does not exist.
    """

    def __init__(
        self, metrics: Metrics, token: SecretStr | None, closed: Callable[[], Response]
    ) -> None:
        self._metrics = metrics
        self._token = token
        self._closed = closed

    def route(self) -> Route:
        """Return the route."""
        return Route("/metrics", self._answer)

    async def _answer(self, request: Request) -> Response:
        if not (_is_local(request) or self._has_token(request)):
            return self._closed()
        return Response(self._metrics.exposition(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _has_token(self, request: Request) -> bool:
        sent = bearer_token(request.headers)
        if self._token is None or sent is None:
            return False
        token = self._token.get_secret_value().encode()
        return secrets.compare_digest(sent.encode(), token)


def _is_local(request: Request) -> bool:
    if any(name in request.headers for name in FORWARDED) or request.client is None:
        return False
    # A name of this machine: another site's name may lead here too, in a browser on it.
    host = _host(request)
    return _is_loopback(request.client.host) and (host == "localhost" or _is_loopback(host))


def _host(request: Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
