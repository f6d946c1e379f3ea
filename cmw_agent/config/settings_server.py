"""Settings of storage, network and sign-in."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import SecretStr

from cmw_agent.config import key_validators as keys
from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, setting
from cmw_agent.config.settings_base import SettingsBase


def _default_on(spaces: str, elsewhere: str) -> Callable[[dict[str, Any]], str]:
    """Return a default that depends on whether the app runs on Hugging Face Spaces."""
    return lambda settings: spaces if settings.get("space_id") else elsewhere


def _default_database(settings: dict[str, Any]) -> SecretStr:
    return SecretStr(values.sqlite_url(settings.get("data_dir", Path("data"))))


class ServerSettings(SettingsBase):
    """Data folder, database, secret key; address, proxies and origins; sign-in."""

    data_dir: Annotated[Path, checked(values.folder)] = setting(
        Path("data"),
        "Folder of the database and the made secret key; made when absent.",
        "a folder's path on one line, without ?",
    )
    database_url: Annotated[SecretStr, checked(network.database_url)] = setting(
        _default_database,
        "SQLAlchemy URL of the database, SQLite or PostgreSQL.",
        "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME with the password's special "
        "characters percent-encoded",
        shown="`chat.db`, a SQLite file in `CMW_DATA_DIR`",
    )
    secret_key: Annotated[SecretStr | None, checked(keys.secret_keys)] = setting(
        None,
        "Keys that sign visitors' cookies, comma-separated: the first signs, all verify. "
        "Replicas share them.",
        f"keys of at least {keys.SHORTEST_KEY} printable characters, separated by commas",
        shown="made once and kept in `CMW_DATA_DIR`, readable by its owner alone",
    )

    host: Annotated[str, checked(network.host)] = setting(
        _default_on("0.0.0.0", "127.0.0.1"),  # noqa: S104 (a Space is reached from outside)
        "Address to listen on.",
        "an IP address or a host name, without a port",
        shown="`127.0.0.1`; `0.0.0.0` on Hugging Face Spaces",
    )
    port: int = setting(
        7860,
        "Port to listen on; 0 takes any free one.",
        "a whole number from 0 to 65535",
        ge=0,
        le=65535,
    )
    trust_proxy: Annotated[str, checked(network.proxies)] = setting(
        _default_on(network.INTERNAL_NETWORKS, ""),
        "Proxies whose `X-Forwarded-*` headers are believed: how many there are (`1`, where each "
        "appends to `X-Forwarded-For`), or their addresses and networks, comma-separated. "
        "Right-most entries go first.",
        "a number of proxies from 0 to 9, or IP addresses or networks separated by commas",
        shown="none; the private networks on Hugging Face Spaces",
    )
    root_path: Annotated[str, checked(network.root_path)] = setting(
        "",
        "Path of the app on its host where a proxy serves it below one, such as `/chat`; the proxy "
        "may take it off or leave it. Without it the `X-Forwarded-Prefix` of trusted proxies holds, "
        "of those that take it off.",
        "a path such as /chat, of letters, digits and ._~- alone, that begins as no route of the "
        "app does",
        shown="none; the app is at the root of its host",
    )
    allowed_hosts: Annotated[frozenset[str], checked(network.hosts)] = setting(
        frozenset(),
        "Names, comma-separated, under which the app answers: what a `Host` header may hold. "
        "`*.example.com` stands for all names below, `*` for any.",
        "host names without a port, separated by commas, or *",
        shown="this machine's own where it listens on a loopback address and trusts no proxy; "
        "the Space's own on Spaces; any elsewhere",
    )
    allowed_origins: Annotated[frozenset[str], checked(network.origins)] = setting(
        frozenset(),
        "Further origins, comma-separated, whose pages may send requests that change something.",
        "origins such as https://example.com:8443, separated by commas",
        shown="none but the page itself",
    )
    frame_ancestors: Annotated[str, checked(network.frame_ancestors)] = setting(
        _default_on("'self' https://huggingface.co https://*.hf.space", "'self'"),
        "Sites that may show the page in a frame, separated by commas or spaces.",
        "self, none, * or sites such as https://*.example.com, separated by commas",
        shown="`self`; also `https://huggingface.co` and `https://*.hf.space` on Spaces",
    )

    admins: Annotated[frozenset[str], checked(values.users)] = setting(
        frozenset(),
        "Who may see the statistics and, of users who agree to it in their settings, what they rate, "
        "comma-separated: `email:ADDRESS` where the provider has verified it, `sub:SUBJECT`, `group:NAME`, or a user name, which users may choose at some providers.",
        "names, email:ADDRESS, sub:SUBJECT or group:NAME separated by commas",
        shown="nobody",
    )

    openid_provider_url: Annotated[str | None, checked(network.provider_url)] = setting(
        None,
        "Address of an OpenID Connect provider with which visitors may sign in; needs "
        "`OAUTH_CLIENT_ID`. Spaces with `hf_oauth: true` set these four themselves.",
        "an https:// address, or an http:// one of this machine",
        shown="none; nobody can sign in",
        validation_alias="OPENID_PROVIDER_URL",
    )
    oauth_client_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "This app's id at the provider; needs `OPENID_PROVIDER_URL`. The provider must know "
        "the address `…/login/callback` of this app.",
        "one word of printable ASCII characters",
        shown="none",
        validation_alias="OAUTH_CLIENT_ID",
    )
    oauth_client_secret: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "This app's secret at the provider, where it gives one.",
        "one word of printable ASCII characters",
        shown="none; PKCE alone",
        validation_alias="OAUTH_CLIENT_SECRET",
    )
    oauth_scopes: Annotated[str, checked(values.scopes)] = setting(
        "openid profile",
        "What the provider is asked to tell.",
        "words separated by spaces, openid among them",
        validation_alias="OAUTH_SCOPES",
    )
