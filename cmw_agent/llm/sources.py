"""Collects the sources that an answer cites, from the forms in which servers name them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cmw_agent.core.events import Source
from cmw_agent.core.sanitize import CONTROLS

MAX_SOURCES = 100  # of one message
MAX_URL, MAX_TITLE = 2_000, 300  # characters
LISTS = ("citations", "search_results", "annotations", "sources")
SOURCE_FIELDS = frozenset(LISTS)


class SourceCollector:
    """The sources of one message, each of them once."""

    __slots__ = ("_last", "_urls")

    def __init__(self) -> None:
        self._urls: set[str] = set()
        self._last: dict[str, Any] = {}  # servers repeat whole lists in each chunk

    def add(self, fields: Mapping[str, Any]) -> tuple[Source, ...]:
        """Return the new sources that a chunk, a choice, a delta or a message names."""
        found: list[Source] = []
        for name in LISTS:
            value = fields.get(name)
            if isinstance(value, list) and value and value != self._last.get(name):
                self._last[name] = value
                found += self.add_items(value, _titles(fields))
        return tuple(found)

    def add_items(self, items: Iterable[Any], titles: Mapping[str, str]) -> tuple[Source, ...]:
        """Return the new sources among `items`."""
        found: list[Source] = []
        for url, title in filter(None, map(_source, items)):
            if len(self._urls) >= MAX_SOURCES:
                break
            if url not in self._urls:
                self._urls.add(url)
                found.append(Source(url, title or titles.get(url, "")))
        return tuple(found)


def _titles(fields: Mapping[str, Any]) -> dict[str, str]:
    results = fields.get("search_results")
    return dict(_sources(results)) if isinstance(results, list) else {}


def _sources(items: Iterable[Any]) -> Iterator[tuple[str, str]]:
    return filter(None, map(_source, items))


def _source(item: Any) -> tuple[str, str] | None:
    if isinstance(item, Mapping):
        nested = item.get("url_citation")
        fields = nested if isinstance(nested, Mapping) else item
        url, title = fields.get("url") or fields.get("uri"), fields.get("title")
    else:
        url, title = item, None
    if not isinstance(url, str):
        return None
    url = url.strip()
    is_web = url[:8].lower().startswith(("http://", "https://"))
    if not is_web or len(url) > MAX_URL or any(map(str.isspace, url)) or CONTROLS.search(url):
        return None
    title = " ".join(title.split())[:MAX_TITLE] if isinstance(title, str) else ""
    return url, CONTROLS.sub("", title)
