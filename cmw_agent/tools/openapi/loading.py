"""Loads the descriptions of services at the start, and makes tools of their operations."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

from cmw_agent.config.network_validators import base_url, origin
from cmw_agent.config.openapi_services import OpenApiService
from cmw_agent.core.errors import StartupError
from cmw_agent.core.logs import get_logger
from cmw_agent.tools.openapi.client import ApiService
from cmw_agent.tools.openapi.documents import ApiDocument
from cmw_agent.tools.openapi.operations import MAX_OPERATIONS, operations_of
from cmw_agent.tools.openapi.toolset import ApiTool
from cmw_agent.tools.search import ToolIndex

log = get_logger(__name__)

MAX_BYTES: Final = 20_000_000  # of a description
FETCH_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class LoadedService:
    """A service with the tools of its operations; holds no user's data.

    Attributes:
        configured: What the operator has configured of it.
        service: The service, as it is called.
        tools: Its operations.
        index: Finds them by words.
    """

    configured: OpenApiService
    service: ApiService
    tools: tuple[ApiTool, ...]
    index: ToolIndex


def load_services(
    configured: Iterable[OpenApiService], taken: Collection[str]
) -> tuple[LoadedService, ...]:
    """Return the services with their tools; their descriptions are read or fetched now.

    Args:
        configured: The services that the operator has configured.
        taken: Names of other tools.

    Raises:
        StartupError: A description cannot be had or used; the message is one line.
    """
    loaded = tuple(_loaded(one) for one in configured)
    known = set(taken)
    for one in loaded:
        for tool in one.tools:
            if tool.operation.name in known:
                raise StartupError(
                    f"{one.configured.subject}: there are two tools of the name {tool.operation.name}"
                )
            known.add(tool.operation.name)
    return loaded


def _loaded(configured: OpenApiService) -> LoadedService:
    document = ApiDocument(_description(configured), configured.subject)
    service = ApiService(configured.name, _address(configured, document), configured.headers)
    found = operations_of(document, configured.name, configured.offers)
    tools = tuple(ApiTool(service, operation) for operation in islice(found, MAX_OPERATIONS))
    if not tools:
        raise StartupError(f"{configured.subject}: none of its operations can be offered")
    if next(found, None) is not None:
        log.warning(
            "a service has more operations than are offered; name those that you need in its key operations",
            service=configured.name,
            count=MAX_OPERATIONS,
        )
    return LoadedService(
        configured, service, tools, ToolIndex(tool.operation.schema for tool in tools)
    )


def _description(configured: OpenApiService) -> bytes:
    try:
        content = _fetched(configured) if configured.file is None else _read(configured)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StartupError(f"{configured.subject}: its file cannot be read ({reason})") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise StartupError(
            f"{configured.subject}: its description cannot be fetched ({type(error).__name__})"
        ) from error
    if len(content) > MAX_BYTES:
        raise StartupError(f"{configured.subject}: its description has more than {MAX_BYTES} bytes")
    return content


def _read(configured: OpenApiService) -> bytes:
    if configured.file is None:
        raise FileNotFoundError
    with configured.file.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _fetched(configured: OpenApiService) -> bytes:
    """Return a description from its address; what proves who asks goes to the service alone."""
    url, body = configured.url or "", bytearray()
    is_service = configured.base_url is None or _origin(configured.base_url) == _origin(url)
    headers = dict(configured.headers) if is_service else {}
    with (
        httpx2.Client(timeout=FETCH_SECONDS, trust_env=False) as client,
        client.stream("GET", url, headers=headers) as response,
    ):
        if response.status_code != 200:
            raise StartupError(
                f"{configured.subject}: its description cannot be fetched "
                f"(HTTP {response.status_code})"
            )
        for part in response.iter_bytes():
            body += part
            if len(body) > MAX_BYTES:
                break
    return bytes(body)


def _address(configured: OpenApiService, document: ApiDocument) -> str:
    """Return the address of a service: one that the operator has written, or of the same origin."""
    if configured.base_url is not None:
        return configured.base_url
    described = _first_server(document)
    try:
        address = base_url(urljoin(configured.url or "", described))
        is_foreign = configured.url is not None and _origin(address) != _origin(configured.url)
    except ValueError:
        address, is_foreign = described, True
    if is_foreign:
        raise StartupError(
            f"{configured.subject}: it is described to be at {address[:100]!a}; "
            "write its address as base_url"
        )
    return address


def _first_server(document: ApiDocument) -> str:
    servers = document.root.get("servers")
    first = document.resolved(servers[0]) if isinstance(servers, list) and servers else {}
    url = first.get("url")
    text = url if isinstance(url, str) else "/"
    variables = first.get("variables")
    for name, value in (variables if isinstance(variables, dict) else {}).items():
        text = text.replace(f"{{{name}}}", str(document.resolved(value).get("default", "")))
    return text


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return origin(f"{parts.scheme}://{parts.netloc}")
