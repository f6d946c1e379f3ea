"""Settings of connected tools, and of approvals."""

from typing import Annotated, Literal

from pydantic import SecretStr

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase


class ToolSettings(SettingsBase):
    """Composio, its toolkits, and which tool calls need approval."""

    composio_api_key: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Key of a Composio project: with it each user connects accounts of their own as tools.",
        "one word of printable ASCII characters",
        shown="none; no connections",
        validation_alias="COMPOSIO_API_KEY",
    )
    composio_base_url: Annotated[str, checked(network.base_url)] = setting(
        "https://backend.composio.dev",
        "Address of Composio.",
        "an http:// or https:// address without user name, ? and #",
        validation_alias="COMPOSIO_BASE_URL",
    )
    toolkits: Annotated[tuple[str, ...], checked(values.slugs)] = setting(
        (),
        "Composio toolkits that users may connect, comma-separated, such as `asana,gmail`.",
        "names of small letters, digits, - and _ separated by commas",
        shown="none",
    )
    toolkit_versions: Annotated[tuple[tuple[str, str], ...], checked(values.pairs)] = setting(
        (),
        "Versions of Composio's toolkits, comma-separated, such as `github=20250909_00`; a pinned "
        "toolkit does not change under the agent.",
        "toolkit=version separated by commas",
        shown="the latest of each",
    )
    auth_configs: Annotated[tuple[tuple[str, str], ...], checked(values.pairs)] = setting(
        (),
        "Composio's auth configs with which accounts of toolkits are connected, comma-separated, "
        "such as `gmail=ac_12345`.",
        "toolkit=id separated by commas",
        shown="the newest of each toolkit, made where there is none",
    )
    tool_timeout: float = seconds(
        60,
        "Seconds that a call of an agent's own tool, in Python or of an MCP server, may take.",
        3600,
    )
    mcp_sessions: int = count(
        200,
        "Sessions with the MCP servers of `agents.toml` that one process keeps open; the one unused "
        "for longest makes room.",
        1,
        10_000,
    )
    user_mcp: Annotated[Literal["off", "on"], checked(values.lower)] = setting(
        "off",
        "Whether users may add MCP servers of their own, at public `https` addresses.",
        "off or on",
    )
    approval: Annotated[Literal["changes", "all", "none"], checked(values.lower)] = setting(
        "changes",
        "Which tool calls wait for the user's approval: those that may change something outside "
        "(`changes`; what is not known to only read counts as such), `all` of connected tools, or "
        "none.",
        "changes, all or none",
    )
    trusted_tools: Annotated[frozenset[str], checked(values.names)] = setting(
        frozenset(),
        "Tools, comma-separated, that never wait for approval.",
        "names of tools separated by commas",
        shown="none",
    )
    approval_seconds: float = seconds(
        300, "Seconds to wait for an approval; the call counts as denied then.", 86400
    )
