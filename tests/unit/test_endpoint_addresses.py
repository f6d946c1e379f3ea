"""Addresses, headers, redirects, proxies and certificates of endpoints."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from cmw_agent.config.settings import load_settings
from cmw_agent.core.errors import StartupError
from cmw_agent.llm.endpoint import AZURE, Endpoint, trusted_certificates
from cmw_agent.llm.errors import StreamSilentError, UpstreamError
from cmw_agent.llm.http_client import Upstream
from cmw_agent.llm.transcription import Transcription
from tests.doubles.http_proxy import http_proxy
from tests.doubles.openai_server import OpenAIDouble
from tests.doubles.openai_steps import Hang, Plain, Request, Step, Text
from tests.doubles.tls import server_context
from tests.harness import WAIT, settings_for

KEY = "sk-of-the-app"
PAYLOAD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
ANSWER = b'data: {"choices":[{"index":0,"delta":{"content":"well"}}]}\n\ndata: [DONE]\n\n'


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextlib.asynccontextmanager
async def upstream_of(base_url: str, **options: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream(base_url, key=KEY, read_seconds=20.0, connections=4, **options)
    try:
        yield upstream
    finally:
        await upstream.close()


async def ask(base_url: str, **options: Any) -> bytes:
    async with upstream_of(base_url, **options) as upstream, asyncio.timeout(WAIT):
        reply = await upstream.open(PAYLOAD)
        received = b""
        while part := await reply.read():
            received += part
        return received


async def refusal(base_url: str) -> str:
    with pytest.raises(UpstreamError) as failed:
        await ask(base_url)
    return failed.value.kind


# -- addresses and headers --------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://a.example/v1", "https://a.example/v1/chat/completions"),
        ("https://a.example/v1/", "https://a.example/v1/chat/completions"),
        ("https://a.example", "https://a.example/chat/completions"),
        ("https://a.example/v1/chat/completions", "https://a.example/v1/chat/completions"),
        (
            "https://a.openai.azure.com/openai/deployments/x?api-version=2024-06-01",
            "https://a.openai.azure.com/openai/deployments/x/chat/completions?api-version=2024-06-01",
        ),
        ("http://[::1]:8000/v1?a=b%20c", "http://[::1]:8000/v1/chat/completions?a=b%20c"),
    ],
)
def test_the_path_is_appended_and_the_query_kept(base_url: str, url: str) -> None:
    assert str(Endpoint(base_url, key=None).url("/chat/completions")) == url


@pytest.mark.parametrize("host", [*("name" + domain for domain in AZURE), "NAME.OpenAI.Azure.com"])
def test_azure_gets_its_key_in_a_header_of_its_own(host: str) -> None:
    assert Endpoint(f"https://{host}/openai/v1", key=KEY).headers == {"api-key": KEY}


@pytest.mark.parametrize("host", ["openai.azure.com.example", "openai.azure.example", "azure.com"])
def test_no_other_host_is_taken_for_azure(host: str) -> None:
    assert Endpoint(f"https://{host}/v1", key=KEY).headers == {"authorization": f"Bearer {KEY}"}


async def test_a_query_goes_with_every_request(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF hello")
    async with OpenAIDouble() as endpoint, http_proxy(endpoint.base_url) as proxy:
        url = f"{proxy.url}/v1?api-version=7"
        # The double of a proxy records the target of a request to itself too.
        assert b"hi" in await ask(url)
        settings = settings_for(tmp_path, openai_base_url=url, openai_api_key=KEY)
        assert "hello" in await Transcription(settings).text(tmp_path / "a.wav", "audio/wav")
    assert proxy.requested_urls == [
        "/v1/chat/completions?api-version=7",
        "/v1/audio/transcriptions?api-version=7",
    ]


async def test_organization_project_and_further_headers_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF hello")
    async with OpenAIDouble() as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
        lines = "HTTP-Referer: https://a.example/b\n\nX-Title:  My app \nAuthorization: Basic abc"
        monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", lines)
        settings = load_settings(None)
        assert "My app" not in repr(settings)
        await ask(endpoint.base_url, headers=settings.openai_headers())
        await Transcription(settings).text(tmp_path / "a.wav", "audio/wav")
        for request in (endpoint.requests[0], endpoint.other_requests[0]):
            assert request.headers["openai-organization"] == "org-1"
            assert request.headers["openai-project"] == "proj-1"
            assert request.headers["http-referer"] == "https://a.example/b"
            assert request.headers["x-title"] == "My app"
            assert request.authorization == "Basic abc"


def test_an_address_with_a_query_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://a.openai.azure.com/x/?api-version=2024-06-01")
    url = load_settings(None).openai_base_url
    assert url == "https://a.openai.azure.com/x?api-version=2024-06-01"


async def test_the_silence_of_one_request_is_its_own() -> None:
    async with OpenAIDouble(scripts={"m": lambda _: [Hang()]}) as endpoint:
        async with upstream_of(endpoint.base_url) as upstream, asyncio.timeout(WAIT):
            with pytest.raises(StreamSilentError):
                await upstream.open(PAYLOAD, silence=0.1)
        assert endpoint.request_count == 1


# -- redirects --------------------------------------------------------------------


def moved(status: int, location: str) -> Plain:
    return Plain(status, b"moved", {"location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_server_is_followed_with_body_and_key(status: int) -> None:
    seen: list[Request] = []

    def script(request: Request) -> Sequence[Step]:
        seen.append(request)
        if len(seen) < 4:
            return [moved(status, "/v1/chat/completions?again=1#part")]
        return [Text(["well"])]

    async with OpenAIDouble(scripts={"m": script}) as endpoint:
        assert b"well" in await ask(endpoint.base_url)
    assert len(seen) == 4
    assert {request.method for request in seen} == {"POST"}
    assert [request.body for request in seen] == [PAYLOAD] * 4
    assert {request.authorization for request in seen} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    "location",
    ["/v1/chat/completions", "ftp://127.0.0.1/", "http://[", "//", "https://other.example/v1", ""],
)
async def test_a_redirect_without_end_or_elsewhere_is_a_wrong_address(location: str) -> None:
    async with OpenAIDouble(scripts={"m": lambda _: [moved(302, location)]}) as endpoint:
        assert await refusal(endpoint.base_url) == "wrong_address"
        assert endpoint.request_count <= 4


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_nothing_follows_a_redirect_to_another_server(status: int) -> None:
    async with OpenAIDouble() as other:
        there = moved(status, f"{other.base_url}/chat/completions")
        async with OpenAIDouble(scripts={"m": lambda _: [there]}) as endpoint:
            assert await refusal(endpoint.base_url) == "wrong_address"
        assert other.request_count == 0


# -- certificates -----------------------------------------------------------------


@contextlib.asynccontextmanager
async def secure(folder: Path, heads: list[str]) -> AsyncIterator[str]:
    """Run a TLS server whose authority nobody trusts; it records the heads of requests."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + ANSWER)
            await writer.drain()
        writer.close()

    context = server_context(folder)
    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_certificate_of_an_unknown_authority_is_told(tmp_path: Path) -> None:
    heads: list[str] = []
    async with secure(tmp_path, heads) as url:
        assert await refusal(url) == "certificate"
    assert heads == []


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_authorities_of_the_environment_are_trusted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with secure(tmp_path, []) as url:
        monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
        assert await ask(url) == ANSWER


def test_certificates_are_read_again_only_where_the_environment_names_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_context(tmp_path)  # writes the authority's certificate
    before = trusted_certificates()
    assert trusted_certificates() is before
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "ca.pem"))
    assert trusted_certificates() is not before


async def test_a_redirect_to_https_of_the_same_host_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[str] = []
    async with secure(tmp_path, heads) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        there = moved(308, f"{url}/chat/completions")
        async with OpenAIDouble(scripts={"m": lambda _: [there]}) as endpoint:
            assert await ask(endpoint.base_url) == ANSWER
    (head,) = heads
    assert head.startswith("POST /v1/chat/completions ")
    assert KEY in head


async def test_a_redirect_from_https_to_http_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 301 Moved\r\nlocation: {other.base_url}/chat/completions\r\n"
        writer.write(f"{head}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    context = server_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    async with (
        OpenAIDouble() as other,
        await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context) as server,
    ):
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        assert await refusal(url) == "wrong_address"
        assert other.request_count == 0


async def test_https_to_a_server_without_it_is_a_wrong_address() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await refusal(f"https://127.0.0.1:{port}/v1") == "wrong_address"


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_certificates_that_cannot_be_read_stop_the_start(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(StartupError, match="REQUESTS_CA_BUNDLE must be a file of certificates"):
        Endpoint("https://a.example", key=None)
    Endpoint("http://a.example", key=None)  # needs none


# -- proxies ----------------------------------------------------------------------


@pytest.mark.parametrize("names", [["all_proxy"], ["ALL_PROXY"], ["http_proxy"]])
async def test_a_proxy_of_the_environment_is_used(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with OpenAIDouble() as endpoint, http_proxy(endpoint.base_url) as proxy:
        for name in names:
            monkeypatch.setenv(name, proxy.url.replace("//", "//us%40er:word@"))
        assert b"hi" in await ask("http://models.invalid/v1")
        assert proxy.requested_urls == ["http://models.invalid/v1/chat/completions"]
        assert "Proxy-Authorization: Basic dXNAZXI6d29yZA==" in proxy.heads[0]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert b"hi" in await ask(endpoint.base_url)
        assert len(proxy.heads) == 1


SOCKS: Sequence[Mapping[str, str]] = [
    {"all_proxy": "socks5://127.0.0.1:1080"},
    {"https_proxy": "socks5h://127.0.0.1:1080"},
    {"all_proxy": "http://"},
    {"all_proxy": "http://[::1"},
]


@pytest.mark.parametrize("variables", SOCKS)
def test_a_proxy_that_cannot_be_used_stops_the_start(
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (name,) = variables
    with pytest.raises(StartupError, match=f"{name.upper()} must name an HTTP proxy"):
        Endpoint("https://a.example", key=None)
    monkeypatch.setenv("no_proxy", "a.example")
    Endpoint("https://a.example", key=None)


def test_a_proxy_for_the_scheme_wins_over_the_one_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("http_proxy", "127.0.0.1:3128")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3129")
    endpoint = Endpoint("http://a.example", key=None)
    assert endpoint._proxies["http"] == URL("http://127.0.0.1:3128")
