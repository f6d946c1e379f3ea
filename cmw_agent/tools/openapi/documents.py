"""Reads an OpenAPI document, and resolves the references in it."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from cmw_agent.core.errors import StartupError

MAX_NODES = 500  # of the schemas of one operation
MAX_DEPTH = 6  # levels of schemas within each other
MAX_LEVELS = 200  # of a YAML document
MAX_HOPS = 20  # from reference to reference
VALUES: Final = frozenset({"default", "enum", "const"})  # any JSON values, and no schemas
NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})  # schemas by name
# What is inlined, or explains and may be long.
LEFT_OUT: Final = frozenset(
    {"$defs", "definitions", "$id", "$schema", "$anchor", "$comment"}
    | {"example", "examples", "externalDocs", "xml", "discriminator"}
)
TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})


class ApiDocument:
    """An OpenAPI document.

    Args:
        content: The document, as JSON or YAML.
        subject: Names it in errors.

    Raises:
        StartupError: It is none of OpenAPI 3; the message is one line.
    """

    def __init__(self, content: bytes, subject: str) -> None:
        self.root = _mapping(_parsed(content, subject))
        version = self.root.get("openapi")
        if not isinstance(version, str) or not version.startswith("3."):
            found = "Swagger 2" if "swagger" in self.root else "no OpenAPI document"
            raise StartupError(f"{subject}: must be a description of OpenAPI 3, and is {found}")
        if not isinstance(self.root.get("paths"), Mapping) or not self.root["paths"]:
            raise StartupError(f"{subject}: describes no paths")

    def resolved(self, value: object) -> Mapping[str, Any]:
        """Return what `value` is or refers to; nothing where that is not in the document."""
        for _ in range(MAX_HOPS):
            if not isinstance(value, Mapping) or not isinstance(value.get("$ref"), str):
                return _mapping(value)
            value = self._at(value["$ref"])
        return {}

    def _at(self, reference: str) -> object:
        """Return what a reference names; None for another document: nothing is fetched for it."""
        if not reference.startswith("#/"):
            return None
        found: object = self.root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found


class SchemaInliner:
    """Writes the schemas of one operation without references, up to a bounded size.

    What is deeper, larger or refers to itself becomes a schema that anything fits: the service
    checks it then.

    Args:
        document: Has what the schemas refer to.
    """

    def __init__(self, document: ApiDocument) -> None:
        self._document = document
        self._left = MAX_NODES

    def schema(self, value: object, depth: int = 0, within: tuple[int, ...] = ()) -> dict[str, Any]:
        """Return a schema without references.

        Args:
            value: The schema, or a reference to one.
            depth: Of the schema in its operation's.
            within: Identities of the schemas that it is a part of.
        """
        found = self._document.resolved(value)
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH or id(found) in within:
            return {}
        inner = (*within, id(found))
        inlined = {
            key: self._part(key, part, depth + 1, inner)
            for key, part in ((str(name), value) for name, value in found.items())
            if key not in LEFT_OUT and not key.startswith("x-")
        }
        return _without_faults(inlined)

    def _part(self, key: str, part: object, depth: int, within: tuple[int, ...]) -> Any:
        if key in VALUES:
            return part
        if key in NAMED and isinstance(part, Mapping):
            return {str(name): self.schema(item, depth, within) for name, item in part.items()}
        if isinstance(part, Mapping):
            return self.schema(part, depth, within)
        if isinstance(part, list):
            return [
                self.schema(item, depth, within) if isinstance(item, Mapping) else item
                for item in part
            ]
        return part


def _without_faults(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without keywords whose values are of a kind that models' servers refuse."""
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            del schema["type"]
            break
    for bound in ("Minimum", "Maximum"):
        if isinstance(schema.get(f"exclusive{bound}"), bool):  # OpenAPI 3.0's form
            is_exclusive = schema.pop(f"exclusive{bound}")
            if is_exclusive and bound.lower() in schema:
                schema[f"exclusive{bound}"] = schema.pop(bound.lower())
    for key, kind in (("properties", dict), ("required", list), ("enum", list)):
        if not isinstance(schema.get(key, kind()), kind):
            del schema[key]
    return schema


def _parsed(content: bytes, subject: str) -> object:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    import yaml  # noqa: PLC0415 (most descriptions are JSON, and most apps have none)

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        # Its events first, which need no stack: what is too deep ends the process while it is loaded.
        for event in yaml.parse(content, loader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_LEVELS:
                raise ValueError  # noqa: TRY301 (reported like any other fault of the document)
        return yaml.load(content, loader)  # noqa: S506 (both loaders are safe ones)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise StartupError(f"{subject}: must be JSON or YAML ({type(error).__name__})") from error


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
