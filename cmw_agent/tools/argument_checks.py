"""Checks the arguments of a call against its tool's JSON schema, before anybody is asked about it."""

import asyncio
import hashlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import orjson

from cmw_agent.core.logs import get_logger

log = get_logger(__name__)

MAX_VALIDATORS = 500  # schemas whose compiled form is kept
MAX_FAULTS = 5  # of one call that the model is told
MAX_FAULT = 300  # characters
# Keywords that run regular expressions or compare all values with each other: the model's
# arguments must not hold up the event loop.
UNCHECKED = ("pattern", "patternProperties", "uniqueItems", "unevaluatedProperties", "format")


class ArgumentChecker:
    """Compiled JSON schemas of tools, of which it keeps a bounded number; holds no user's data."""

    __slots__ = ("_is_loaded", "_validators")

    def __init__(self) -> None:
        self._validators: dict[bytes, Any] = {}
        self._is_loaded = False

    async def faults(self, schema: Any, arguments: Mapping[str, Any]) -> str:
        """Return what is wrong with `arguments`, a line for each fault; empty where they fit.

        A schema that is missing or broken fits everything: the tool's server decides then.

        Args:
            schema: JSON schema of the arguments.
            arguments: What the model gave.
        """
        if not isinstance(schema, Mapping) or not schema:
            return ""
        if not self._is_loaded:
            # In a thread: the import takes a tenth of a second, and most processes never need it.
            await asyncio.to_thread(importlib.import_module, "jsonschema")
            self._is_loaded = True
        try:
            errors = list(islice(self._validator(schema).iter_errors(dict(arguments)), MAX_FAULTS))
        except Exception as error:  # noqa: BLE001 (whatever is wrong with a tool's own schema)
            log.warning("schema of a tool is broken", error=type(error).__name__)
            return ""
        return "\n ".join(_line(error) for error in errors)

    def _validator(self, schema: Mapping[str, Any]) -> Any:
        key = hashlib.sha256(orjson.dumps(schema, option=orjson.OPT_NON_STR_KEYS)).digest()
        validator = self._validators.get(key)
        if validator is None:
            if len(self._validators) >= MAX_VALIDATORS:
                self._validators.clear()
            validator = self._validators[key] = _compiled(schema)
        return validator


def _compiled(schema: Mapping[str, Any]) -> Any:
    from jsonschema import validators  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    dialect = validators.validator_for(schema, default=validators.Draft202012Validator)
    rules: dict[str, Any] = dict.fromkeys(UNCHECKED, _fits)
    rules |= {keyword: _nullable(dialect.VALIDATORS[keyword]) for keyword in ("type", "enum")}
    rules["additionalProperties"] = _without_patterns(dialect.VALIDATORS["additionalProperties"])
    # An empty registry: nothing is fetched from the addresses that a schema names.
    return validators.extend(dialect, rules)(schema, registry=Registry())


def _fits(*_: Any) -> Iterator[Any]:
    return iter(())


def _nullable(rule: Any) -> Any:
    """Return a rule that lets null pass where OpenAPI's `nullable` allows it."""
    return _unless(rule, lambda instance, schema: instance is None and schema.get("nullable"))


def _without_patterns(rule: Any) -> Any:
    """Return a rule that passes where names are matched by patterns, which are not run."""
    return _unless(rule, lambda _, schema: "patternProperties" in schema)


def _unless(rule: Any, passes: Callable[[Any, Mapping[str, Any]], Any]) -> Any:
    def check(
        validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[Any]:
        errors: Iterator[Any] = rule(validator, value, instance, schema) or iter(())
        return iter(()) if passes(instance, schema) else errors

    return check


def _line(error: Any) -> str:
    path = ".".join(map(str, error.absolute_path))
    text = f"{path}: {error.message}" if path else str(error.message)
    return text if len(text) <= MAX_FAULT else text[:MAX_FAULT] + " […cut]"
