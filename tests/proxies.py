"""Runs nginx, Caddy and HAProxy in front of the app, below a path of their host."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.harness import WAIT
from tests.nginx import nginx_program
from tests.ports import free_port
from tests.programs import CADDY, HAPROXY, path_of

ROOT = "/chat"
KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True, slots=True)
class Route:
    """How a proxy hands a request on.

    Attributes:
        strips: Whether it takes the path of the app off.
        host: Whether it hands on the Host header.
        prefix: Whether it sends `X-Forwarded-Prefix`.
    """

    strips: bool
    host: bool = True
    prefix: bool = False


def nginx(folder: Path, port: int, app: int, route: Route) -> list[str]:
    """Write the configuration of an nginx, and return the words that run it."""
    user = "user root;" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {kind}; " for kind in KINDS)
    headers = "proxy_set_header Host $http_host; " if route.host else ""
    headers += f"proxy_set_header X-Forwarded-Prefix {ROOT}; " if route.prefix else ""
    target = f"http://127.0.0.1:{app}" + ("/" if route.strips else "")
    (folder / "nginx.conf").write_text(
        f"pid nginx.pid; {user} daemon off; events {{}}\n"
        f"http {{ access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; location {ROOT}/ {{ proxy_pass {target}; {headers}"
        "proxy_set_header X-Forwarded-For $remote_addr; proxy_http_version 1.1; "
        "proxy_buffering off; } } }",
        encoding="utf-8",
    )
    words = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "log")]
    return [nginx_program(), *words]


def caddy(folder: Path, port: int, app: int, route: Route) -> list[str]:
    """Write the configuration of a Caddy, and return the words that run it."""
    handle = "handle_path" if route.strips else "handle"
    host = "" if route.host else "header_up Host {upstream_hostport}\n-X-Forwarded-Host\n"
    host = host.replace("-X", "header_up -X")
    prefix = f"header_up X-Forwarded-Prefix {ROOT}\n" if route.prefix else ""
    (folder / "Caddyfile").write_text(
        "{\nadmin off\nauto_https off\n}\n"
        f"http://:{port} {{\nbind 127.0.0.1\n{handle} {ROOT}/* {{\n"
        f"reverse_proxy 127.0.0.1:{app} {{\n{host}{prefix}}}\n}}\n}}\n",
        encoding="utf-8",
    )
    return [path_of(CADDY), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def haproxy(folder: Path, port: int, app: int, route: Route) -> list[str]:
    """Write the configuration of an HAProxy, and return the words that run it."""
    rules = [f"http-request replace-path ^{ROOT}/(.*) /\\1"] if route.strips else []
    rules += [] if route.host else [f"http-request set-header Host 127.0.0.1:{app}"]
    rules += [f"http-request set-header X-Forwarded-Prefix {ROOT}"] if route.prefix else []
    lines = "\n  ".join(rules)
    (folder / "haproxy.cfg").write_text(
        "global\n  maxconn 200\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n"
        "  timeout server 60s\n  option forwardfor\n"
        f"frontend front\n  bind 127.0.0.1:{port}\n  use_backend app if {{ path_beg {ROOT}/ }}\n"
        f"backend app\n  {lines}\n  server one 127.0.0.1:{app}\n",
        encoding="utf-8",
    )
    return [path_of(HAPROXY), "-db", "-f", str(folder / "haproxy.cfg")]


Proxy = Callable[[Path, int, int, Route], list[str]]
PROXIES: Mapping[str, Proxy] = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}


@contextlib.asynccontextmanager
async def proxied(name: str, folder: Path, app_url: str, route: Route) -> AsyncIterator[str]:
    """Run a proxy in front of the app for the block, which gets the address of the host.

    Args:
        name: A name of `PROXIES`.
        folder: Where its configuration is written.
        app_url: Where the app is.
        route: How requests are handed on.
    """
    port = free_port()
    words = PROXIES[name](folder, port, int(app_url.rpartition(":")[2]), route)
    environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    log = await asyncio.to_thread((folder / "output").open, "wb")
    with log:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=log, stderr=log, env=environment
        )
    url = f"http://127.0.0.1:{port}"
    try:
        await _wait_for(url, process, folder)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _wait_for(url: str, process: asyncio.subprocess.Process, folder: Path) -> None:
    async with asyncio.timeout(WAIT), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}{ROOT}/healthz"):
                    return
            except aiohttp.ClientError:
                assert process.returncode is None, (folder / "output").read_text()
                await asyncio.sleep(0.02)


def routes(strips: Sequence[bool] = (True, False)) -> list[Route]:
    """Return the ways to hand a request on, with the prefix taken off or not."""
    return [Route(strip) for strip in strips]
