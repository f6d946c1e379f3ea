"""Settings of the channels beside the page, and of recurring tasks."""

from typing import Annotated

from pydantic import SecretStr

from cmw_agent.config import key_validators as keys
from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase
from cmw_agent.config.validators import ApiKey, KeyGrant


class ChannelSettings(SettingsBase):
    """REST keys, WhatsApp, recurring tasks."""

    api_keys: Annotated[tuple[ApiKey, ...], checked(keys.api_keys)] = setting(
        (),
        "Keys of the REST interface, comma-separated: `name:key`, or `name:key:https://site.example` "
        "where pages of that origin may use it too. One name with two keys lets a key be changed.",
        f"name:key[:origin…] separated by commas, each key of at least {keys.SHORTEST_KEY} "
        "characters and named once",
        shown="none; the REST interface is closed",
        repr=False,
    )
    key_scopes: Annotated[tuple[KeyGrant, ...], checked(keys.key_scopes)] = setting(
        (),
        "What keys of `CMW_API_KEYS` are for, comma-separated: `name=scope+scope@agent+agent`, "
        "where a scope is `agents`, `v1`, `whatsapp` or `read`. Either half may be left out.",
        "name=scope+scope@agent+agent separated by commas, each name once and each scope one of "
        + ", ".join(values.SCOPES),
        shown="none; each key is for everything, at the agents that are for everyone",
    )
    public_url: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address under which people reach this app; links in messages begin with it.",
        "an http:// or https:// address without user name, ? and #",
        shown="none; links lead to where a request came in",
    )
    whatsapp_secret: Annotated[SecretStr | None, checked(keys.secret_keys)] = setting(
        None,
        "Keys that sign what the WhatsApp bridge or Meta's Cloud API sends, comma-separated: each "
        "verifies. For the Cloud API it is the app secret.",
        f"keys of at least {keys.SHORTEST_KEY} printable characters, separated by commas",
        shown="none; the channel is closed",
    )
    whatsapp_bridge_url: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address of a WPPConnect bridge, where answers go.",
        "an http:// or https:// address without user name, ? and #",
        shown="none",
    )
    whatsapp_bridge_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Token that the bridge asks for.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_inline: bool = setting(
        False,
        'Give the bridge its answer in the reply to its own request (`{"reply": …}`), which lasts '
        "as long as the answer takes.",
        "true or false",
    )
    whatsapp_access_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Access token of Meta's Cloud API.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_phone_number_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "Id of the phone number at Meta's Cloud API from which answers go.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_verify_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Word with which Meta verifies the webhook's address.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_graph_url: Annotated[str, checked(network.base_url)] = setting(
        "https://graph.facebook.com/v23.0",
        "Address and version of Meta's Graph API.",
        "an http:// or https:// address without user name, ? and #",
    )
    whatsapp_agent: Annotated[str, checked(values.line)] = setting(
        "assistant",
        "Id of the agent that answers on WhatsApp.",
        "an agent's id",
        max_length=40,
    )
    whatsapp_window_seconds: float = seconds(
        86400,
        "Seconds after which a WhatsApp message is too old to be answered; ids are kept as long.",
        2_592_000,
    )

    schedules_per_user: int = count(
        10, "Recurring tasks that one user may have; 0 lets nobody have any.", 0, 1000
    )
    schedule_seconds: float = seconds(
        900, "Seconds that must lie between two runs of a recurring task.", 2_592_000
    )
    time_zone: Annotated[str, checked(values.time_zone)] = setting(
        "UTC",
        "Time zone of recurring tasks whose user names none.",
        "a time zone such as Europe/Berlin",
    )
