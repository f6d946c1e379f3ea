"""The app with a real server behind it, as one block of a test."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness import Browser, Served, Tab, served, settings_for
from tests.logbook import Logbook, logbook
from tests.real_server.llama_server import KEY, Limits, LlamaServer, started
from tests.real_server.random_model import END, QUOTE, write_model
from tests.rest import KEYS, Client, client
from tests.rows import messages

SOME_WORDS = {END: 2.0, QUOTE: 2.0}  # a dozen words, and never as many as a server allows
WITHOUT_END: dict[str, float] = {}
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class House:
    """The app, the server behind it, a client of its REST interface, and what it logged."""

    app: Served
    server: LlamaServer
    program: Client
    book: Logbook
    folder: Path

    @contextlib.asynccontextmanager
    async def page(self) -> AsyncIterator[Tab]:
        """Open the page in a browser of its own."""
        async with Browser(self.app.url) as browser:
            yield await browser.open()

    def stored(self, secret: str) -> dict[str, Any]:
        """Return the stored answer to the message that holds `secret`; its tool calls are parsed."""
        rows = messages(self.folder, secret)
        (question,) = (row for row in rows if secret in row["content"] and row["role"] == "user")
        (answer,) = (row for row in rows if row["seq"] == question["seq"] + 1)
        return answer | {"tool_calls": json.loads(answer["tool_calls"] or "[]")}

    def check_log(self) -> None:
        """Check that the log holds neither the key nor an error that nothing handled."""
        assert KEY not in self.book.text
        assert self.book.unhandled == []


@contextlib.asynccontextmanager
async def house(
    folder: Path,
    template: str,
    odds: Mapping[str, float] = SOME_WORDS,
    limits: Limits = LIMITS,
    **settings: Any,
) -> AsyncIterator[House]:
    """Serve the app, with a random model behind it, for the block.

    Args:
        folder: For the model and the app's data.
        template: The model's chat template.
        odds: The odds of the model's tokens beside its words, see `write_model`.
        limits: What the server allows.
        settings: Further settings of the app.
    """
    model = folder / "random.gguf"
    write_model(model, template, odds)
    async with started(model, limits) as server:
        values = {"openai_base_url": server.base_url, "openai_api_key": KEY, "model": "random"}
        changed = settings_for(folder, **{**values, "api_keys": KEYS, **settings})
        with logbook() as book:
            async with served(changed) as app, client(app.url) as program:
                yield House(app, server, program, book, folder)
