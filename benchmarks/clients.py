"""The benchmark's users: each sends messages as the server's page does, and records the answer."""

import asyncio
import contextlib
import random
import string
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

API = "/gradio_api"
UNCHANGED = {"__type__": "update"}  # Gradio's value for an output that does not change


@dataclass(slots=True)
class Measured:
    """The measurements of one turn.

    Attributes:
        first: Seconds from sending to the first text.
        done: Seconds from sending to the end.
        text: The answer.
        error: The error's text, if the turn failed.
        gaps: Seconds between the updates.
        updates: The number of updates.
    """

    first: float = 0.0
    done: float = 0.0
    text: str = ""
    error: str | None = None
    gaps: list[float] = field(default_factory=list)
    updates: int = 0


@dataclass(frozen=True, slots=True)
class Script:
    """The events of a page for one message: those before, the one that streams, the load event."""

    streams: str
    before: tuple[str, ...] = ()
    on_open: str | None = None


APP = Script("send", on_open="open_page")
# ChatInterface's page also fires three events after an answer; they are not counted here.
NAIVE = Script("_submit_fn", before=("_clear_and_save_textbox", "_append_message_to_history"))


class PageUser:
    """A tab of a Gradio page: queue/join, queue/data, heartbeat.

    Args:
        url: The server's URL.
        http: The browser, of this user alone.
        script: The events of its page.
    """

    def __init__(self, url: str, http: aiohttp.ClientSession, script: Script) -> None:
        self._url = url
        self._http = http
        self._script = script
        self._hash = "".join(random.choices(string.ascii_lowercase + string.digits, k=11))
        self._functions: dict[str, dict[str, Any]] = {}
        self._beat: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Fetch the page, open the heartbeat, run the page's load event."""
        async with self._http.get(self._url + "/") as answer:
            await answer.read()
        async with self._http.get(self._url + "/config") as answer:
            config = orjson.loads(await answer.read())
        self._functions = {d["api_name"]: d for d in config["dependencies"] if d.get("api_name")}
        self._beat = asyncio.create_task(self._heartbeat())
        if self._script.on_open is not None:
            await self._fire(self._script.on_open, "")

    async def close(self) -> None:
        """Close the tab."""
        if self._beat is not None:
            self._beat.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiohttp.ClientError):
                await self._beat
        await self._http.close()

    async def say(self, message: str) -> Measured:
        """Send a message and follow its answer to the end."""
        started = time.perf_counter()
        for name in self._script.before:
            await self._fire(name, message)
        waited = time.perf_counter() - started
        measured = await self._fire(self._script.streams, message)
        measured.first += waited
        measured.done += waited
        return measured

    async def ask_and_not_read(self, message: str) -> aiohttp.ClientResponse:
        """Send a message, open the event stream, and read nothing from it."""
        function, data = self._inputs(self._script.streams, message)
        await self._join(function, data)
        params = {"session_hash": self._hash}
        answer = await self._http.get(f"{self._url}{API}/queue/data", params=params)
        if answer.connection is not None and answer.connection.transport is not None:
            answer.connection.transport.pause_reading()
        return answer

    async def _fire(self, name: str, message: str) -> Measured:
        return await self._run(*self._inputs(name, message))

    def _inputs(self, name: str, message: str) -> tuple[int, list[Any]]:
        function = self._functions[name]
        data: list[Any] = [None] * len(function["inputs"])
        if name in ("send", "_clear_and_save_textbox"):
            data[0] = message
        elif name == "_append_message_to_history":
            data[1] = []
        if name == "send":
            data[1] = data[2] = ""
        return int(function["id"]), data

    async def _join(self, function: int, data: list[Any]) -> str | None:
        body = {
            "data": data,
            "fn_index": function,
            "session_hash": self._hash,
            "event_data": None,
            "trigger_id": 1,  # as a page's button does
        }
        async with self._http.post(f"{self._url}{API}/queue/join", json=body) as answer:
            if answer.status != 200:
                return None
            return str(orjson.loads(await answer.read())["event_id"])

    async def _run(self, function: int, data: list[Any]) -> Measured:
        measured = Measured()
        started = last = time.perf_counter()
        event = await self._join(function, data)
        if event is None:
            measured.error = "refused"
            return measured
        value = Value()
        async for message in self._events():
            if message.get("event_id") != event:
                continue
            if message["msg"] not in ("process_generating", "process_completed"):
                continue
            now = time.perf_counter()
            if not message["success"]:
                measured.error = str(message["output"].get("error"))
            elif message["output"].get("data"):
                value.update(message["output"]["data"], message["msg"] == "process_generating")
                if not measured.first and value.answering():
                    measured.first = now - started
                measured.gaps.append(now - last)
                measured.updates += 1
                last = now
            if message["msg"] == "process_completed":
                measured.done = now - started
        measured.text = value.answer()
        return measured

    async def _events(self) -> AsyncIterator[dict[str, Any]]:
        params = {"session_hash": self._hash}
        async with self._http.get(f"{self._url}{API}/queue/data", params=params) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield orjson.loads(line[5:])

    async def _heartbeat(self) -> None:
        async with self._http.get(f"{self._url}{API}/heartbeat/{self._hash}") as answer:
            async for _ in answer.content:
                pass


class Value:
    """The outputs of an event, kept up to date by Gradio's edits."""

    def __init__(self) -> None:
        self._data: list[Any] = []

    def update(self, data: list[Any], generating: bool) -> None:
        """Take in a whole value or, after the first, edits of it; at the end what has changed."""
        if not self._data:
            self._data = data
            return
        if not generating:
            self._data = [
                old if new == UNCHANGED else new for old, new in zip(self._data, data, strict=True)
            ]
            return
        for place, edits in enumerate(data):
            for action, path, new in edits:
                self._edit([place, *path], action, new)

    def _edit(self, path: list[Any], action: str, new: Any) -> None:
        target: Any = self._data
        for step in path[:-1]:
            target = target[step]
        last = path[-1]
        if action == "append":
            target[last] += new
        elif action == "delete":
            del target[last]
        elif action == "add" and isinstance(target, list):
            target.insert(last, new)
        else:
            target[last] = new

    def answering(self) -> bool:
        """Whether any text of the answer has come."""
        text = self.answer()
        return bool(text) and "cmw-waiting" not in text

    def answer(self) -> str:
        """Return the answer's text so far."""
        for output in self._data:
            if isinstance(output, str):
                return output
            if isinstance(output, list) and output and isinstance(output[-1], dict):
                if output[-1].get("role") != "assistant":
                    return ""
                content = output[-1]["content"]
                return str(content if isinstance(content, str) else content[0]["text"])
        return ""


class ProxyUser:
    """A user of the raw proxy: one POST, answered by server-sent events."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._http = http

    async def open(self) -> None:
        """Do nothing: the proxy has no page."""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def say(self, message: str) -> Measured:
        """Send a message and follow its answer to the end."""
        measured = Measured()
        started = last = time.perf_counter()
        parts: list[str] = []
        async with self._http.post(self._url + "/chat", json={"message": message}) as answer:
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                choices = orjson.loads(line[5:])["choices"]
                text = choices[0]["delta"].get("content") if choices else None
                if not text:
                    continue
                now = time.perf_counter()
                parts.append(text)
                measured.first = measured.first or now - started
                measured.gaps.append(now - last)
                measured.updates += 1
                last = now
        measured.done = time.perf_counter() - started
        measured.text = "".join(parts)
        return measured
