"""Loads the models: those of the settings, and the `[[models]]` of `agents.toml`.

    [[models]]
    id = "large"
    name = "vendor/large-2"
    endpoint = "https://models.example.com/v1"
    key = "LARGE_KEY"

The file may change a model of the settings, by its id, and add others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from cmw_agent.config import model_values as reader
from cmw_agent.config.model_profiles import NO_FIELDS, ModelProfile, Models
from cmw_agent.config.named_secrets import named_secret, text_or_secret
from cmw_agent.config.network_validators import origin
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import (
    Table,
    problem,
    quoted,
    read_tables,
    read_values,
    subject_of,
)
from cmw_agent.config.validators import Price

MAX_MODELS = 200
OPENAI_URL = "https://api.openai.com/v1"
ID_ALLOWED = "an id of at most 200 characters on one line"


def load_models(settings: Settings) -> Models:
    """Return the models, those of the settings first.

    Raises:
        StartupError: The file that the settings name cannot be read or is not valid; the message
            is one line that names the file, the model and what is allowed.
    """
    tables = read_tables(settings.agents_file, "models", MAX_MODELS)
    added: dict[str, ModelProfile] = {}
    for number, table in enumerate(tables, 1):
        subject = subject_of("model", table, number)
        profile = _profile(table, subject, settings)
        if profile.id in added:
            raise problem(settings.agents_file, subject, "has an id that is taken")
        added[profile.id] = profile
    by_id = {profile.id: profile for profile in _of_settings(settings)}
    is_named = "model" in settings.model_fields_set
    if settings.demo and added and not is_named and not settings.models:
        by_id = {}  # `[[models]]` replaces the demo
    by_id |= added
    _check_fallbacks(by_id, settings)
    return Models(MappingProxyType(by_id), next(iter(by_id)))


def _of_settings(settings: Settings) -> list[ModelProfile]:
    return [
        ModelProfile(
            id=name,
            name=name,
            base_url=settings.openai_base_url,
            api_key=settings.endpoint_key,
            extra_headers=_default_headers(settings),
            silence=settings.model_timeout,
            price=_listed_price(settings, name),
            is_demo=settings.demo,
            takes_visitor_key=settings.visitor_keys != "off",
            needs_visitor_key=settings.needs_visitor_key,
        )
        for name in dict.fromkeys((settings.model, *settings.models))
    ]


def _profile(table: Table, subject: str, settings: Settings) -> ModelProfile:
    path = settings.agents_file
    found = read_values(path, subject, table, READERS, settings)
    if "id" not in found:
        raise problem(path, subject, f"must have an id: {ID_ALLOWED}")
    name = found.setdefault("name", found["id"])
    found.setdefault("silence", settings.model_timeout)
    endpoint, variable = found.pop("endpoint", None), found.pop("key", None)
    if settings.demo and endpoint is None and variable is None:
        raise problem(path, subject, "must have an endpoint: OPENAI_BASE_URL is not set")
    key = named_secret(variable, "key", subject, settings) if variable is not None else None
    is_default = _is_default(endpoint, settings)
    is_shared = variable is None and is_default
    if is_shared:
        key = settings.endpoint_key
    own = found.get("extra_headers", NO_FIELDS).items()
    found["extra_headers"] = MappingProxyType(
        {
            **(_default_headers(settings) if is_default else NO_FIELDS),
            **{
                header: text_or_secret(value, "extra_headers", subject, settings)
                for header, value in own
            },
        }
    )
    price = found.pop("price", None)
    return ModelProfile(
        base_url=endpoint or settings.openai_base_url,
        api_key=key,
        takes_visitor_key=is_shared and settings.visitor_keys != "off",
        needs_visitor_key=is_shared and settings.needs_visitor_key,
        price=Price(name, *price) if price else _listed_price(settings, found["id"], name),
        **{FIELDS.get(field, field): value for field, value in found.items()},
    )


def _default_headers(settings: Settings) -> Mapping[str, str]:
    return {name.lower(): value for name, value in settings.openai_headers().items()}


def _is_default(endpoint: str | None, settings: Settings) -> bool:
    """Whether an endpoint is the settings' own, which alone is sent the settings' key and headers."""
    default = settings.openai_base_url or OPENAI_URL
    return endpoint is None or origin_of(endpoint) == origin_of(default)


def origin_of(url: str) -> str:
    """Return the origin of an endpoint's address: scheme, host and port."""
    scheme, _, rest = url.partition("://")
    return origin(f"{scheme}://{rest.partition('/')[0].partition('?')[0]}")


def _listed_price(settings: Settings, *names: str) -> Price | None:
    listed = {price.model: price for price in settings.prices}
    return next((listed[name] for name in names if name in listed), None)


def _check_fallbacks(by_id: Mapping[str, ModelProfile], settings: Settings) -> None:
    for profile in by_id.values():
        unknown = next((name for name in profile.fallback if name not in by_id), None)
        subject = f"model {quoted(profile.id)}"
        if unknown is not None:
            text = f"fallback must name models that there are ({', '.join(by_id)})"
            raise problem(settings.agents_file, subject, f"{text}, not {quoted(unknown)}")
        if profile.id in profile.fallback:
            raise problem(settings.agents_file, subject, "must not be its own fallback")


# Keys of the file whose fields have another name.
FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {"tools": "has_tools", "vision": "has_vision", "system": "has_system"}
)
# Every key of a model, with the function that validates its value.
READERS: Final[Mapping[str, Callable[[Any, Settings], Any]]] = MappingProxyType(
    {
        "id": reader.model_id,
        "name": reader.model_id,
        "endpoint": reader.endpoint,
        "key": reader.variable_name,
        "api": reader.api,
        "context_tokens": reader.context_tokens,
        "output_tokens": reader.output_tokens,
        "temperature": reader.temperature,
        "top_p": reader.top_p,
        "seed": reader.seed,
        "effort": reader.effort,
        "extra_body": reader.extra_body,
        "extra_headers": reader.extra_headers,
        "tools": reader.flag,
        "vision": reader.flag,
        "system": reader.flag,
        "text_calls": reader.flag,
        "silence": reader.silence,
        "price": reader.price,
        "fallback": reader.fallback,
    }
)
