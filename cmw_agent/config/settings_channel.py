"""Settings of the channels beside the page, and of recurring tasks."""

from typing import Annotated, Literal

from pydantic import SecretStr

from cmw_agent.config import key_validators as keys
from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase
from cmw_agent.config.validators import ApiKey, KeyGrant, KeyLimits

BridgeName = Literal["own", "wppconnect", "waha", "evolution", "gowa", "wwebjs", "unoapi"]


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
    mcp_server: Annotated[Literal["off", "on"], checked(values.lower)] = setting(
        "off",
        "Whether `/mcp` offers the agents as tools of an MCP server, to holders of keys of `CMW_API_KEYS`.",
        "off or on",
    )
    key_scopes: Annotated[tuple[KeyGrant, ...], checked(keys.key_scopes)] = setting(
        (),
        "What keys of `CMW_API_KEYS` are for, comma-separated: `name=scope+scope@agent+agent`, "
        "where a scope is `agents`, `v1`, `whatsapp` or `read`. Either half may be left out.",
        "name=scope+scope@agent+agent separated by commas, each name once and each scope one of "
        + ", ".join(values.SCOPES),
        shown="none; each key is for everything, at the agents that are for everyone",
    )
    key_limits: Annotated[tuple[KeyLimits, ...], checked(keys.key_limits)] = setting(
        (),
        "Limits of all requests to `/v1` with the keys of one name, comma-separated: "
        "`name=messages/answers/tokens`, which are messages in a minute, answers at once and tokens in a "
        "day; 0 sets no limit, and the name `*` means all keys that are not named. Users whom requests "
        "name have those of `CMW_TURNS_PER_MINUTE` and others besides.",
        "name=messages/answers/tokens separated by commas, each name once and each number whole",
        shown="600/50/0 for the keys of each name",
    )
    whitespace_seconds: float = setting(
        45,
        "Seconds after which an answer of the REST interface or of `/v1` that is not streamed begins "
        "with white space, and between two spaces: proxies end requests that are silent for a minute "
        "or two. An error is then a document with the status 200; 0 waits for the answer's own status.",
        "a number of seconds from 0 to 3600",
        ge=0,
        le=3600,
        allow_inf_nan=False,
    )
    public_url: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address under which people reach this app; links in messages begin with it.",
        "an http:// or https:// address without user name, ? and #",
        shown="none; links lead to where a request came in",
    )
    whatsapp_secret: Annotated[SecretStr | None, checked(keys.secret_keys)] = setting(
        None,
        "Secrets that prove what the WhatsApp bridge or Meta's Cloud API sends, comma-separated: "
        "each does. For the Cloud API it is the app secret.",
        f"keys of at least {keys.SHORTEST_KEY} printable characters, separated by commas",
        shown="none; the channel is closed",
    )
    whatsapp_bridge: Annotated[BridgeName, checked(values.lower)] = setting(
        "own",
        "Kind of the WhatsApp bridge: wppconnect-server, WAHA, Evolution API, GOWA, wwebjs-api, "
        "unoapi-cloud, or one of your own.",
        "own, wppconnect, waha, evolution, gowa, wwebjs or unoapi",
    )
    whatsapp_bridge_url: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address of the WhatsApp bridge, where answers go.",
        "an http:// or https:// address without user name, ? and #",
        shown="none",
    )
    whatsapp_bridge_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Token or API key that the bridge asks for; for GOWA `user:password`.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_bridge_session: Annotated[str, checked(values.token)] = setting(
        "default",
        "The bridge's name for its connection: session, instance, GOWA's device, or for "
        "unoapi-cloud the phone number.",
        "one word of printable ASCII characters",
        max_length=100,
    )
    whatsapp_numbers: Annotated[tuple[str, ...], checked(values.digits)] = setting(
        (),
        "The app's own numbers and LIDs at WhatsApp, comma-separated, by which it knows in groups "
        "that it is named; what a delivery says of them is known beside.",
        "numbers of 5 to 20 digits separated by commas",
        shown="none",
    )
    whatsapp_groups: Annotated[Literal["addressed", "all", "none"], checked(values.lower)] = (
        setting(
            "addressed",
            "What is answered in groups: messages that name the app, reply to it or begin with a "
            "prefix; all; or none.",
            "addressed, all or none",
        )
    )
    whatsapp_prefixes: Annotated[tuple[str, ...], checked(values.lines)] = setting(
        ("bot",),
        "Words with which a message in a group begins that is for the app, comma-separated.",
        "words separated by commas",
        shown="bot",
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
    whatsapp_template: Annotated[str | None, checked(values.token)] = setting(
        None,
        "Name of the template of Meta's Cloud API that people get who have not written for 24 hours, "
        "at most once in 24 hours. The text itself, such as a recurring task's answer, waits until "
        "they write again.",
        "a template's name: small letters, digits and _",
        shown="none; texts wait without a word",
        pattern=r"^[a-z0-9_]{1,512}$",
    )
    whatsapp_template_language: Annotated[str, checked(values.token)] = setting(
        "en",
        "Language of that template, as Meta names it.",
        "a code such as en, en_US or ru",
        pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$",
    )
    whatsapp_template_body: Annotated[Literal["none", "beginning"], checked(values.lower)] = (
        setting(
            "none",
            "What the one parameter in that template's body is: the beginning of the text that waits; "
            "or none, where it has no parameter.",
            "none or beginning",
        )
    )
    whatsapp_graph_url: Annotated[str, checked(network.base_url)] = setting(
        "https://graph.facebook.com/v26.0",
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

    language: Annotated[str, checked(values.language)] = setting(
        "en",
        "Language of WhatsApp and of recurring tasks; who asks by a page or by HTTP chooses.",
        "the tag of a language that has a catalogue, such as ru",
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
