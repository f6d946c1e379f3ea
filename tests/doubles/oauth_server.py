"""An authorization server of OAuth 2.1 beside an MCP server: discovery, registration, PKCE, rotation."""

import base64
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from tests.doubles.mcp_server import McpDouble, mcp_double, tool

SECONDS = 3600


@dataclass(slots=True)
class OAuthDouble:
    """The server.

    Attributes:
        mcp: The MCP server at which users sign in.
        clients: What has registered, by its id.
        codes: What was approved and not exchanged yet.
        refresh_tokens: Whose they are.
        requests: The paths of all requests.
        expires_in: Seconds that access tokens last.
        metadata: Differs from what the server says of itself.
    """

    mcp: McpDouble = field(default_factory=McpDouble)
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    expires_in: int = SECONDS
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return self.mcp.url.removesuffix("/mcp")

    def routes(self) -> list[web.RouteDef]:
        """Return its routes."""
        resource = "/.well-known/oauth-protected-resource/mcp"
        return [
            web.get(resource, self.resource),
            web.get("/.well-known/oauth-authorization-server", self.description),
            web.post("/register", self.register),
            web.get("/authorize", self.authorize),
            web.post("/token", self.token),
            web.post("/revoke", self.revoke),
        ]

    async def resource(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        servers = self.metadata.get("authorization_servers", [self.issuer])
        return web.json_response({"resource": self.mcp.url, "authorization_servers": servers})

    async def description(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        issuer = self.issuer
        described = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "registration_endpoint": f"{issuer}/register",
            "revocation_endpoint": f"{issuer}/revoke",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
        }
        return web.json_response(described | self.metadata)

    async def register(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        client = await request.json() | {"client_id": secrets.token_hex(8)}
        self.clients[client["client_id"]] = client
        return web.json_response(client, status=201)

    async def authorize(self, request: web.Request) -> web.Response:
        """Send the browser back with a code for the login that it names."""
        self.requests.append(request.path)
        query = dict(request.query)
        assert query["code_challenge_method"] == "S256"
        assert query["redirect_uri"] in self.clients[query["client_id"]]["redirect_uris"]
        code = secrets.token_hex(16)
        self.codes[code] = (request.headers["x-login"], query)
        back = urlencode({"code": code, "state": query["state"]})
        return web.Response(status=302, headers={"location": f"{query['redirect_uri']}?{back}"})

    async def token(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        form = await request.post()
        if form["grant_type"] == "refresh_token":
            login = self.refresh_tokens.pop(str(form["refresh_token"]), None)
            if login is None:
                return web.json_response({"error": "invalid_grant"}, status=400)
            return self._tokens(login)
        login, query = self.codes.pop(str(form["code"]))
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        assert challenge == query["code_challenge"]
        assert (form["client_id"], form["redirect_uri"]) == (
            query["client_id"],
            query["redirect_uri"],
        )
        assert form["resource"] == self.mcp.url
        return self._tokens(login)

    def _tokens(self, login: str) -> web.Response:
        assert self.mcp.logins is not None
        access, refresh = f"at-{secrets.token_hex(8)}", f"rt-{secrets.token_hex(8)}"
        self.mcp.logins[access] = login
        self.refresh_tokens[refresh] = login
        return web.json_response(
            {
                "access_token": access,
                "token_type": "Bearer",
                "expires_in": self.expires_in,
                "refresh_token": refresh,
            }
        )

    async def revoke(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        form = await request.post()
        self.refresh_tokens.pop(str(form["token"]), None)
        return web.Response()

    @property
    def secrets(self) -> set[str]:
        """All tokens that are worth something."""
        return {*(self.mcp.logins or {}), *self.refresh_tokens}


async def approve(address: str, login: str) -> str:
    """Approve as a user would; return the address to which the browser is sent back."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(address, headers={"x-login": login}, allow_redirects=False) as answer,
    ):
        assert answer.status == 302
        return answer.headers["location"]


@contextlib.asynccontextmanager
async def oauth_double() -> AsyncIterator[OAuthDouble]:
    """Serve both servers for the block."""
    double = OAuthDouble()
    async with mcp_double(*double.routes()) as mcp:
        mcp.logins = {}
        mcp.tools.append(tool("whoami"))
        double.mcp = mcp
        resource = f"{double.issuer}/.well-known/oauth-protected-resource/mcp"
        mcp.challenge = f'Bearer resource_metadata="{resource}"'
        yield double
