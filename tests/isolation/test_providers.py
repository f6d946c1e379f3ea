"""Providers as they are: where they put names, how they sign, and what they refuse."""

import base64
import contextlib
import re
import time
import warnings
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tests.harness import Browser
from tests.isolation import provider as idp
from tests.isolation.provider import CLIENT, Claims, Forger, forging, provider
from tests.isolation.world import AppWithModel, app_with_model

TENANT = "0a1b2c3d-0000-4000-8000-00000000000a"
SECRET = "a secret: of %&+ signs"
ODD_KEYS: list[Any] = [
    {"kty": "AKP", "alg": "ML-DSA-44", "kid": "here", "pub": "x"},
    {"kty": "RSA", "kid": "here", "use": "enc", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "kid": "here", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"},
    {"kty": "RSA", "kid": "here"},
    {"kty": "OKP", "crv": "X448", "kid": "here", "x": "!"},
    "no key",
]


@dataclass(slots=True)
class House:
    """The app, its provider, and what the provider says."""

    app: AppWithModel
    forger: Forger
    address: str
    upstream: str

    async def callback(self, browser: Browser, subject: str = "4") -> tuple[int, str]:
        asked = await idp.begin_sign_in(browser)
        back = await idp.sign_in_at_provider(asked.replace(self.address, self.upstream), subject)
        return await idp.open_callback(browser, back)

    async def is_admin(self, subject: str = "4") -> bool:
        """Whether a user of this subject may see the statistics."""
        async with Browser(self.app.url) as browser:
            await browser.open()
            assert (await self.callback(browser, subject))[0] == 303
            async with browser.http.get(f"{self.app.url}/admin/statistics") as answer:
                return answer.status == 200

    async def refused(self) -> tuple[int, str]:
        """Sign in, which fails; return the status and the page."""
        async with Browser(self.app.url) as browser:
            await browser.open()
            return await self.callback(browser)


@contextlib.asynccontextmanager
async def house(
    folder: Path, upstream: str, address: str | None = None, **changes: Any
) -> AsyncIterator[House]:
    async with forging(upstream) as (found, forger):
        settings = {
            "openid_provider_url": found,
            "oauth_client_id": CLIENT,
            "oauth_client_secret": "not-told-to-anyone",
            "oauth_scopes": "openid profile email",
            **changes,
        }
        async with app_with_model(folder, **settings) as here:
            yield House(here, forger, found, upstream)


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with provider() as there:
        yield there


def adding(**more: Any) -> Any:
    return lambda claims: {**claims, **more}


def changed(first: Callable[[Claims], Claims], more: Claims, claims: Claims) -> Claims:
    return {**first(claims), **more}


def without(*names: str) -> Any:
    return lambda claims: {name: value for name, value in claims.items() if name not in names}


async def test_an_admin_is_known_by_subject_verified_address_group_or_name(
    tmp_path: Path, upstream: str
) -> None:
    admins = "sub:4,email:Boss@a.example,group:ops,chief"
    async with house(tmp_path, upstream, admins=admins) as here:
        assert await here.is_admin("4")
        assert not await here.is_admin("2")
        for more, expected in (
            ({"email": "boss@A.example", "email_verified": True}, True),
            ({"email": "boss@a.example", "email_verified": "true"}, True),  # as Cognito says it
            ({"email": "boss@a.example", "xms_edov": True}, True),  # as Entra does
            ({"email": "boss@a.example"}, False),
            ({"email": "boss@a.example", "email_verified": False}, False),
            ({"email": "boss@a.example", "email_verified": "false"}, False),
            ({"groups": ["ops"]}, True),
            ({"roles": ["ops"]}, True),
            ({"groups": "ops"}, False),
            ({"preferred_username": "chief"}, True),
            ({"preferred_username": "sub:4"}, False),
            ({"preferred_username": "group:ops"}, False),
            ({"preferred_username": "email:boss@a.example"}, False),
        ):
            here.forger.change = adding(**more)
            assert await here.is_admin("2") == expected, more


async def test_what_the_id_token_lacks_comes_from_userinfo(tmp_path: Path, upstream: str) -> None:
    admins = "chief,email:boss@a.example,group:ops"
    async with house(tmp_path, upstream, admins=admins) as here:
        here.forger.change = without("preferred_username", "email", "email_verified", "groups")
        for more, expected in (
            ({}, False),
            ({"preferred_username": "chief"}, True),
            ({"email": "boss@a.example", "email_verified": True}, True),
            ({"groups": ["ops"]}, True),
            ({"groups": ["ops"], "sub": "another"}, False),  # another's answer
        ):
            here.forger.userinfo = adding(**more)
            assert await here.is_admin() == expected, more


async def test_userinfo_does_not_overrule_the_id_token(tmp_path: Path, upstream: str) -> None:
    async with house(tmp_path, upstream, admins="chief,email:boss@a.example") as here:
        here.forger.change = adding(preferred_username="someone", email="boss@a.example")
        here.forger.userinfo = adding(preferred_username="chief", email_verified=True)
        assert not await here.is_admin()


async def test_a_userinfo_that_fails_leaves_the_sign_in(
    tmp_path: Path, upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, upstream, admins="sub:4", log_level="WARNING") as here:
        here.forger.describe = adding(userinfo_endpoint=f"{here.address}/nowhere")
        assert await here.is_admin()
        assert "userinfo cannot be read" in caplog.text


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (OKPKey.generate_key("Ed25519", {"kid": "here"}), "EdDSA"),
        (ECKey.generate_key("P-256", {"kid": "here"}), "ES256"),
        (ECKey.generate_key("P-521", {"kid": "here"}), "ES512"),
        (RSAKey.generate_key(2048, {"kid": "here"}), "PS256"),
    ],
    ids=["EdDSA", "ES256", "ES512", "PS256"],
)
async def test_each_algorithm_counts_beside_keys_that_are_unknown(
    tmp_path: Path, upstream: str, key: Any, algorithm: str
) -> None:
    async with house(tmp_path, upstream, admins="sub:4") as here:
        other = type(key).generate_key(2048 if algorithm == "PS256" else key.curve_name)
        here.forger.published = [*ODD_KEYS, {**other.as_dict(private=False), "kid": "here"}]
        here.forger.key = key
        here.forger.write = signer(key, {"alg": algorithm, "kid": "here"})
        assert await here.is_admin()
        here.forger.write = signer(key, {"alg": algorithm})
        assert await here.is_admin()  # a token that names no key


def signer(key: Any, header: dict[str, str]) -> Any:
    def signed(claims: Claims) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of EdDSA's older name
            return jwt.encode(header, claims, key, algorithms=[header["alg"]])

    return signed


async def test_a_secret_is_sent_as_the_provider_takes_it(tmp_path: Path, upstream: str) -> None:
    secret = SECRET.replace(" ", "_")
    async with house(tmp_path, upstream, oauth_client_secret=secret, admins="sub:4") as here:
        await here.is_admin()
        sent = base64.b64decode(here.forger.authorizations[-1].removeprefix("Basic ")).decode()
        assert sent == f"{CLIENT}:a_secret%3A_of_%25%26%2B_signs"
    (tmp_path / "post").mkdir()
    async with house(tmp_path / "post", upstream, oauth_client_secret=secret) as here:
        here.forger.describe = adding(token_endpoint_auth_methods_supported=["client_secret_post"])
        await here.is_admin()
        assert here.forger.authorizations[-1] == ""
        assert here.forger.posted[-1]["client_secret"] == secret


@contextlib.asynccontextmanager
async def common(folder: Path, upstream: str, admins: str) -> AsyncIterator[House]:
    """Run an app whose provider is Entra's for accounts of any tenant."""
    async with forging(upstream) as (found, forger):
        forger.prefix = "/common"
        forger.describe = lambda about: {**about, "issuer": f"{found}/{{tenantid}}"}
        settings: dict[str, Any] = {
            "openid_provider_url": f"{found}/common",
            "oauth_client_id": CLIENT,
            "oauth_client_secret": "not-told-to-anyone",
            "admins": admins,
        }
        forger.change = lambda claims: {**claims, "tid": TENANT, "iss": f"{found}/{TENANT}"}
        async with app_with_model(folder, **settings) as here:
            yield House(here, forger, found, upstream)


async def test_users_of_any_tenant_sign_in_and_their_tenants_cannot_name_them(
    tmp_path: Path, upstream: str
) -> None:
    admins = f"chief,group:ops,group:{TENANT}/staff"
    async with common(tmp_path, upstream, admins) as here:
        from_tenant = here.forger.change
        for more, expected in (
            ({}, False),
            ({"preferred_username": "chief"}, False),
            ({"roles": ["ops"]}, False),
            ({"roles": ["staff"]}, True),
        ):
            here.forger.change = partial(changed, from_tenant, more)
            assert await here.is_admin() == expected, more


@pytest.mark.parametrize(
    "more",
    [{"tid": None}, {"tid": "../x"}, {"tid": TENANT.replace("0", "1")}, {"iss": "https://x"}],
)
async def test_a_token_of_another_tenant_than_it_names_is_refused(
    tmp_path: Path, upstream: str, more: Claims
) -> None:
    async with common(tmp_path, upstream, "sub:4") as here:
        from_tenant = here.forger.change
        here.forger.change = partial(changed, from_tenant, more)
        assert (await here.refused())[0] == 400


def shifted(seconds: int) -> Any:
    def change(claims: Claims) -> Claims:
        now = int(time.time()) + seconds
        return {**claims, "iat": now, "exp": now + 5}

    return change


async def test_clocks_may_differ_by_some_minutes(
    tmp_path: Path, upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, upstream, admins="sub:4", log_level="WARNING") as here:
        for seconds in (-120, 120):
            here.forger.change = shifted(seconds)
            assert await here.is_admin()
        for seconds in (-600, 600):
            caplog.clear()
            here.forger.change = shifted(seconds)
            status, page = await here.refused()
            assert status == 400
            assert_told(page, caplog.text, "clock")


def assert_told(page: str, log: str, advice: str) -> None:
    """The page has one id, the log the same and what to change."""
    (error_id,) = re.findall(r"\b[0-9a-f]{8}\b", page)
    assert error_id in log
    assert advice in log
    assert "not-told-to-anyone" not in log + page


@pytest.mark.parametrize(
    ("code", "advice", "status"),
    [
        ("invalid_client", "OAUTH_CLIENT_SECRET", 502),
        ("unauthorized_client", "allow it there", 502),
        ("redirect_uri_mismatch", "/login/callback", 502),
        ("invalid_grant", "expired", 400),
        ("something_new", "refuses", 400),
    ],
)
async def test_a_refusal_of_the_token_says_what_to_change(
    tmp_path: Path,
    upstream: str,
    caplog: pytest.LogCaptureFixture,
    code: str,
    advice: str,
    status: int,
) -> None:
    async with house(tmp_path, upstream, log_level="WARNING") as here:
        here.forger.refuses = code
        found, page = await here.refused()
        assert found == status
        assert_told(page, caplog.text, advice)


@pytest.mark.parametrize(
    ("document", "advice"),
    [
        ({"issuer": "https://other.example"}, "OPENID_PROVIDER_URL"),
        ({"jwks_uri": None}, "jwks_uri"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "client_secret_basic"),
    ],
)
async def test_a_provider_that_cannot_serve_says_what_to_change(
    tmp_path: Path,
    upstream: str,
    caplog: pytest.LogCaptureFixture,
    document: Claims,
    advice: str,
) -> None:
    async with house(tmp_path, upstream, log_level="WARNING") as here:
        here.forger.describe = adding(**document)
        async with Browser(here.app.url) as browser:
            await browser.open()
            async with browser.http.get(f"{here.app.url}/login", allow_redirects=False) as answer:
                status, page = answer.status, await answer.text()
            if status == 303:
                status, page = await here.callback(browser)
        assert status == 502
        assert_told(page, caplog.text, advice)


async def test_a_refusal_in_the_browser_says_what_to_change(
    tmp_path: Path, upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, upstream, log_level="WARNING") as here:
        async with Browser(here.app.url) as browser:
            await browser.open()
            state = idp.query_of(await idp.begin_sign_in(browser))["state"]
            back = f"{here.app.url}/login/callback?error=invalid_scope&state={state}"
            status, page = await idp.open_callback(browser, back)
        assert status == 502
        assert_told(page, caplog.text, "OAUTH_SCOPES")


async def test_a_token_for_another_client_says_what_to_change(
    tmp_path: Path, upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path, upstream, log_level="WARNING") as here:
        here.forger.change = adding(aud="another")
        status, page = await here.refused()
        assert status == 400
        assert_told(page, caplog.text, "OAUTH_CLIENT_ID")
