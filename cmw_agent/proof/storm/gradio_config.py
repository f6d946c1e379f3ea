"""Reads a Gradio app's config: its components, its events, and which of them is the chat's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmw_agent.proof.storm.errors import TargetError

MESSAGE_TYPES = ("textbox", "multimodaltextbox", "api")
ANSWER_TYPES = {"chatbot": 6, "json": 2, "markdown": 2, "textbox": 1, "html": 1}
NAMES = ("chat", "send", "respond", "predict", "submit")
MAX_EVENTS = 2_000
OWN_EVENTS = {"open_page", "send", "chat", "new_chat"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the page.

    Attributes:
        index: Gradio's number of its function.
        name: Its API name.
        inputs: Ids of the components whose values it gets.
        outputs: Ids of the components that it changes.
        triggers: What starts it, such as ``submit`` or ``load``.
        queued: Whether it goes through the queue.
        after: The event that it follows, None where it follows none.
        only_after_success: Whether it follows that only where it succeeded.
        public: Whether it is offered as an endpoint.
        runs: Whether it runs on the server.
        generates: Whether it streams.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    triggers: tuple[str, ...]
    queued: bool
    after: int | None
    only_after_success: bool
    public: bool
    runs: bool
    generates: bool


@dataclass(frozen=True, slots=True)
class Config:
    """What a storm needs of a Gradio app's config.

    Attributes:
        prefix: The path of its API.
        mode: ``chat_interface`` or ``blocks``.
        types: The components' types by their ids.
        values: Their first values.
        events: All events.
    """

    prefix: str
    mode: str
    types: Mapping[int, str]
    values: Mapping[int, Any]
    events: tuple[Event, ...]

    @property
    def is_own(self) -> bool:
        """Whether it is an app of this project."""
        return {event.name for event in self.events} >= OWN_EVENTS

    def followers(self, event: Event) -> list[Event]:
        """Return the events that follow one on the server."""
        return [other for other in self.events if other.after == event.index and other.runs]

    def loads(self) -> list[Event]:
        """Return the events of a page that is opened."""
        return [event for event in self.events if "load" in event.triggers and event.runs]

    def chat(self, name: str | None = None) -> Event:
        """Return the event that sends a message.

        Args:
            name: Its API name, where the user has given one.

        Raises:
            TargetError: There is none.
        """
        if name is not None:
            wanted = name.strip("/")
            for event in self.events:
                if event.name == wanted and event.runs:
                    return event
            raise TargetError(f"the app has no endpoint {wanted!r}; it has {self._public()}")
        scored = [(self._score(event), -event.index, event) for event in self.events]
        best = max(scored, default=None, key=lambda item: item[:2])
        if best is None or best[0] <= 0:
            raise TargetError(
                "no event of the app takes a text and answers; name one by --endpoint "
                f"(it has {self._public()})"
            )
        return best[2]

    def message_index(self, event: Event) -> int:
        """Return the index of the message among an event's inputs. Raises TargetError."""
        for index, component in enumerate(event.inputs):
            if self.types.get(component) in MESSAGE_TYPES:
                return index
        raise TargetError(f"the endpoint {event.name!r} takes no text")

    def _score(self, event: Event) -> int:
        inputs = {self.types.get(component) for component in event.inputs}
        if not event.runs or event.after is not None or not inputs & set(MESSAGE_TYPES):
            return 0
        outputs = (ANSWER_TYPES.get(self.types.get(each, ""), 0) for each in event.outputs)
        answers = max(outputs, default=0)
        if not event.public and answers < 2 and not self.followers(event):
            return 0
        return (
            4 * event.public
            + 2 * ("submit" in event.triggers)
            + answers
            + bool(self.followers(event))
            + (event.name in NAMES)
        )

    def _public(self) -> str:
        names = [event.name for event in self.events if event.public and event.name]
        return ", ".join(names[:20]) or "no named one"


def config_of(value: Any) -> Config:
    """Return the config that an app has answered with.

    Raises:
        TargetError: It is no config of Gradio's.
    """
    try:
        components = {each["id"]: each for each in value["components"]}
        return Config(
            prefix=str(value.get("api_prefix", "")),
            mode=str(value.get("mode", "blocks")),
            types={key: str(each["type"]) for key, each in components.items()},
            values={key: each.get("props", {}).get("value") for key, each in components.items()},
            events=tuple(_event(each) for each in value["dependencies"][:MAX_EVENTS]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TargetError("/config of the target is no config of Gradio's") from error


def _event(value: Mapping[str, Any]) -> Event:
    targets: Sequence[Sequence[Any]] = value.get("targets") or ()
    after = value.get("trigger_after")
    return Event(
        index=int(value["id"]),
        name=str(value.get("api_name") or ""),
        inputs=tuple(value["inputs"]),
        outputs=tuple(value["outputs"]),
        triggers=tuple(str(target[1]) for target in targets),
        queued=value.get("queue") is not False,
        after=None if after is None else int(after),
        only_after_success=bool(value.get("trigger_only_on_success")),
        public=value.get("api_visibility", "public") == "public" and bool(value.get("api_name")),
        runs=bool(value.get("backend_fn")) and not (value.get("types") or {}).get("cancel"),
        generates=bool((value.get("types") or {}).get("generator")),
    )
