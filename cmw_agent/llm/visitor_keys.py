"""Visitors' own keys for the model's endpoint: one request brings one, and nothing keeps it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from cmw_agent.config.settings import Settings
from cmw_agent.core.errors import InvalidMessageError, UserError
from cmw_agent.language import joined, wording

HEADER: Final = "x-model-key"
MAX_CHARS = 1_000
UNREADABLE = wording("Your key for the model must be one word of printable ASCII characters.")
MISSING_ON_PAGE = wording(
    "This app has no key for the model of its own: please enter yours in the settings and try again."
)
MISSING_ELSEWHERE = wording(
    "This app has no key for the model of its own: send yours in the header X-Model-Key, where the "
    "page is not used."
)
GET_ONE = wording("You get one at {address}")
# Where people get keys of the endpoints that many use.
PAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "api.openai.com": "https://platform.openai.com/api-keys",
        "router.huggingface.co": "https://huggingface.co/settings/tokens",
        "openrouter.ai": "https://openrouter.ai/settings/keys",
    }
)


class KeyMissingError(UserError):
    """The endpoint needs a visitor's own key, and the request has none.

    Args:
        is_page: Whether the page's user asks.
        address: Where such keys are given; None where that is not known.
    """

    status = 403

    def __init__(self, *, is_page: bool, address: str | None) -> None:
        sentence = MISSING_ON_PAGE if is_page else MISSING_ELSEWHERE
        hint = None if address is None else GET_ONE.using(address=address)
        super().__init__(joined(sentence, hint))


def visitor_key(headers: Mapping[str, str], settings: Settings) -> SecretStr | None:
    """Return the key that a request brings; None for none, and where visitors' keys are off.

    Raises:
        InvalidMessageError: It is none that a header can hold.
    """
    key = headers.get(HEADER, "").strip()
    if not key or settings.visitor_keys == "off":
        return None
    if len(key) > MAX_CHARS or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidMessageError(UNREADABLE)
    return SecretStr(key)


def key_page(settings: Settings) -> str | None:
    """Return the address where visitors get a key; None where it is not known."""
    if settings.visitor_key_url is not None:
        return settings.visitor_key_url
    url = settings.openai_base_url
    return PAGES.get((urlsplit(url).hostname or "") if url else "api.openai.com")
