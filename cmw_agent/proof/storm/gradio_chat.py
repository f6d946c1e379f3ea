"""One tab of a Gradio app: speaks the queue's protocol as Gradio's page does."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from cmw_agent.proof.storm.channels import ID_LENGTH
from cmw_agent.proof.storm.errors import AnswerRefusedError, TargetError
from cmw_agent.proof.storm.event_streams import events
from cmw_agent.proof.storm.gradio_config import Config, Event
from cmw_agent.proof.storm.gradio_values import is_update, patched
from cmw_agent.proof.storm.joined_texts import JoinedTexts
from cmw_agent.proof.storm.wire import Wire

MAX_CHAIN = 10  # events that follow each other
ENDS = ("unexpected_error", "server_stopped", "close_stream")


class GradioTab:
    """A tab with a session hash, the values of its components, and a heartbeat.

    Args:
        config: The app's.
        event: The one that sends a message.
        wire: Whose tab it is.
        session: Its session hash; a random one where absent.
    """

    def __init__(
        self, config: Config, event: Event, wire: Wire, session: str | None = None
    ) -> None:
        self.config = config
        self.event = event
        self.wire = wire
        self.hash = session or secrets.token_hex(6)[:ID_LENGTH]
        self.event_id = ""  # of the message that was sent last
        self._values: dict[int, Any] = dict(config.values)
        self._heartbeat: asyncio.Task[None] | None = None

    async def open(self, way: str) -> None:
        """Load the page, open its heartbeat, run its load events."""
        await self.wire.ask("GET", "/", way)
        self._heartbeat = asyncio.create_task(self._beat(way))
        for event in self.config.loads():
            await self._run(event, self._inputs(event), way)

    async def close(self) -> None:
        """Close the heartbeat, as a tab that is closed does."""
        if self._heartbeat is not None:
            self._heartbeat.cancel()
            await asyncio.wait([self._heartbeat])

    async def say(self, text: str, way: str) -> None:
        """Send a message, and run what the page runs after it."""
        await self._run(self.event, self._message(text), way)

    async def begin(self, text: str, way: str) -> None:
        """Send a message and leave its answer unread."""
        self.event_id = await self.join(self.event, self._message(text), way)

    async def finish(self, way: str) -> None:
        """Read the answer that `begin` left, and run what follows."""
        await self._follow(self.event, self.event_id, way)
        await self._run_followers(self.event, way)

    async def cut(self, text: str, way: str) -> None:
        """Send a message, read the first event of its answer, and stop it as the page does."""
        await self.begin(text, way)
        async with self.wire.stream("GET", self._data_url(self.hash), way) as (response, texts):
            if response.status_code == 200:
                async with contextlib.aclosing(events(response, texts)) as stream:
                    async for message in stream:
                        if message.get("event_id") == self.event_id:
                            break
        await self.cancel(self.hash, self.event_id, way)

    async def cancel(self, session: str, event_id: str, way: str) -> None:
        """Ask the app to end an event."""
        body = {"session_hash": session, "fn_index": self.event.index, "event_id": event_id}
        await self.wire.try_("POST", f"{self.config.prefix}/cancel", way, json=body)

    async def join(
        self, event: Event, data: Sequence[Any], way: str, session: str | None = None
    ) -> str:
        """Put an event into the queue; return its id. Raises TargetError."""
        body = self._body(event, data, session or self.hash)
        reply = await self.wire.ask("POST", f"{self.config.prefix}/queue/join", way, json=body)
        value = reply.json()
        if not isinstance(value, dict) or not isinstance(value.get("event_id"), str):
            raise TargetError("the app's queue gave no event id")
        return str(value["event_id"])

    async def listen(self, session: str, way: str, seconds: float) -> None:
        """Read a session's event stream for so long, or until it ends; nothing is expected of it."""
        with contextlib.suppress(TargetError, TimeoutError):
            async with (
                asyncio.timeout(self.wire.budget.within(seconds)),
                self.wire.stream("GET", self._data_url(session), way) as (response, texts),
            ):
                async for message in events(response, texts):
                    if isinstance(message, dict) and message.get("msg") in ENDS:
                        return

    def _data_url(self, session: str) -> str:
        return f"{self.config.prefix}/queue/data?session_hash={session}"

    def _message(self, text: str) -> list[Any]:
        data = self._inputs(self.event)
        index = self.config.message_index(self.event)
        is_multimodal = self.config.types[self.event.inputs[index]] == "multimodaltextbox"
        data[index] = {"text": text, "files": []} if is_multimodal else text
        return data

    def _inputs(self, event: Event) -> list[Any]:
        # The server keeps the values of `gr.State` itself.
        return [
            None if self.config.types.get(each) == "state" else self._values.get(each)
            for each in event.inputs
        ]

    def _body(self, event: Event, data: Sequence[Any], session: str) -> dict[str, Any]:
        return {
            "data": list(data),
            "fn_index": event.index,
            "session_hash": session,
            "event_data": None,
            "trigger_id": None,
        }

    async def _run(self, event: Event, data: Sequence[Any], way: str, depth: int = 0) -> None:
        if event.queued:
            self.event_id = await self.join(event, data, way)
            await self._follow(event, self.event_id, way)
        else:
            path = f"{self.config.prefix}/run/{event.name}"
            reply = await self.wire.ask("POST", path, way, json=self._body(event, data, self.hash))
            value = reply.json()
            self._keep(event, value.get("data") if isinstance(value, dict) else None)
        await self._run_followers(event, way, depth)

    async def _run_followers(self, event: Event, way: str, depth: int = 0) -> None:
        if depth < MAX_CHAIN:
            for follower in self.config.followers(event):
                await self._run(follower, self._inputs(follower), way, depth + 1)

    async def _follow(self, event: Event, event_id: str, way: str) -> None:
        """Read the session's stream until an event is done. Raises TargetError."""
        async with self.wire.stream("GET", self._data_url(self.hash), way) as (response, texts):
            if response.status_code != 200:
                raise TargetError(
                    f"the app's event stream answered with HTTP {response.status_code}"
                )
            outputs: list[Any] = []
            async with contextlib.aclosing(events(response, texts)) as stream:
                async for message in stream:
                    if not isinstance(message, dict):
                        raise TargetError("the app's event stream is not Gradio's")
                    if message.get("event_id") not in (event_id, None):
                        continue
                    outputs = self._applied(outputs, message, texts)
                    if message.get("msg") == "process_completed":
                        self._keep(event, outputs)
                        return
                    if message.get("msg") in ENDS:
                        break
        raise TargetError("the app's event stream ended before the answer")

    def _applied(
        self, outputs: list[Any], message: dict[str, Any], texts: JoinedTexts
    ) -> list[Any]:
        """Return the outputs after a message of the stream. Raises TargetError."""
        output = message.get("output")
        if message.get("success") is False:
            reason = output.get("error") if isinstance(output, dict) else None
            raise AnswerRefusedError(
                f"an answer ended with an error ({str(reason or 'no reason')[:120]})"
            )
        if not isinstance(output, dict) or not isinstance(output.get("data"), list):
            return outputs
        data = output["data"]
        is_diff = message.get("msg") == "process_generating" and outputs
        try:
            new = [patched(*each) for each in zip(outputs, data, strict=True)] if is_diff else data
        except (LookupError, TypeError, ValueError):
            raise TargetError("the app's stream has edits that do not fit") from None
        texts.extra[:] = [json.dumps(new)]
        return new

    def _keep(self, event: Event, outputs: Any) -> None:
        for component, value in zip(event.outputs, outputs or (), strict=False):
            if not is_update(value):
                self._values[component] = value
            elif "value" in value:
                self._values[component] = value["value"]

    async def _beat(self, way: str) -> None:
        url = f"{self.config.prefix}/heartbeat/{self.hash}"
        with contextlib.suppress(TargetError):
            async with self.wire.stream("GET", url, way, lasts=True) as (response, texts):
                async for _ in events(response, texts):
                    pass
