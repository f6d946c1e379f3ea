"""Finds out what a target is, and by which channels it is reached."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from cmw_agent.proof.storm.chainlit import ChainlitChannel
from cmw_agent.proof.storm.channels import Channel
from cmw_agent.proof.storm.description import Description, read_description
from cmw_agent.proof.storm.errors import TargetError
from cmw_agent.proof.storm.evidence import Evidence
from cmw_agent.proof.storm.gradio import GradioChannel
from cmw_agent.proof.storm.gradio_config import config_of
from cmw_agent.proof.storm.openai import OpenAIChannel
from cmw_agent.proof.storm.rest import RestChannel
from cmw_agent.proof.storm.widget import WidgetChannel
from cmw_agent.proof.storm.wire import Budget, Terms, Wire

Kind = Literal["auto", "gradio", "chainlit", "openai", "rest"]
PROBE = "looks what the target is"
NOT_FOUND = 404
OWN_AGENT = "assistant"  # the agent that an app of this project has where nothing else is set


@dataclass(frozen=True, slots=True)
class Target:
    """What is stormed.

    Attributes:
        url: Its address.
        kind: What it is; ``auto`` finds out.
        endpoint: The API name of a Gradio app's event that sends a message.
        model: The model that requests of OpenAI's form name.
        description: The file that describes a REST chat.
        keys: API keys, or Chainlit's logins, dealt to users in turn.
        headers: Sent with each request.
        allowed: Whether the user says that they may storm a host that is not this machine.
        patience: Seconds that one answer may take.
    """

    url: str
    kind: Kind = "auto"
    endpoint: str | None = None
    model: str | None = None
    description: Path | None = None
    keys: Sequence[str] = ()
    headers: Sequence[tuple[str, str]] = ()
    allowed: bool = False
    patience: float = 30.0


def terms_of(target: Target) -> Terms:
    """Return how a target is spoken to. Blocks while its name is resolved.

    Raises:
        TargetError: The address is none, is unknown, or is another machine's and may not be stormed.
    """
    parts = urlsplit(target.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TargetError(f"{target.url!r} is no address; give one such as http://127.0.0.1:7860")
    local = _is_loopback(parts.hostname)
    if not local and not target.allowed:
        raise TargetError(
            f"{parts.hostname} is not this machine; a storm of it needs its operator's consent: "
            "add --i-am-allowed"
        )
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    verify = ssl.create_default_context() if parts.scheme == "https" else False
    return Terms(
        base,
        headers=dict(target.headers),
        patience=target.patience,
        trust_env=not local,
        verify=verify,
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TargetError(f"the host {host} is not known ({error.strerror})") from error
    return all(
        ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found
    )


async def channels_of(target: Target, terms: Terms, budget: Budget) -> list[Channel]:
    """Return the channels by which a target is reached.

    Raises:
        TargetError: It is not there, or nothing that is known.
    """
    if target.kind == "rest" or target.description is not None:
        if target.description is None:
            raise TargetError("--kind rest needs --description FILE")
        return [RestChannel(read_description(target.description), target.keys)]
    evidence = Evidence()
    headers = {"Authorization": f"Bearer {target.keys[0]}"} if target.keys else {}
    async with Wire(terms, budget, evidence, evidence.person("user", "probe", 0)) as wire:
        # Before `/config`: Chainlit answers each address that it does not know with its page.
        if target.kind in ("auto", "chainlit"):
            chainlit = await _chainlit(target, wire)
            if chainlit is not None:
                return [chainlit]
        if target.kind in ("auto", "gradio"):
            reply = await wire.try_("GET", "/config", PROBE)
            if reply.status == 200 or target.kind == "gradio":
                return await _gradio(target, wire, headers)
            if reply.status != NOT_FOUND:
                await wire.ask("GET", "/config", PROBE)
        prefixes = [""] if urlsplit(terms.base).path.endswith("/v1") else ["/v1", ""]
        for prefix in prefixes:
            model = target.model or await _first_model(wire, prefix, headers)
            if model is not None:
                return [OpenAIChannel(model, target.keys, prefix)]
    raise TargetError(
        "the target is neither a Gradio app nor a Chainlit app nor an endpoint in OpenAI's form; "
        "describe it by --description FILE"
    )


async def _chainlit(target: Target, wire: Wire) -> ChainlitChannel | None:
    reply = await wire.try_("GET", "/auth/config", PROBE)
    value: Any = None
    with contextlib.suppress(TargetError):
        value = reply.json()
    if not isinstance(value, dict) or "requireLogin" not in value:
        if target.kind == "chainlit":
            raise TargetError("the target is no Chainlit app: its /auth/config is not Chainlit's")
        return None
    if value["requireLogin"] and not target.keys:
        raise TargetError("the target wants a login; --key NAME:PASSWORD or --key TOKEN prove one")
    return ChainlitChannel(target.keys if value["requireLogin"] else ())


async def _gradio(target: Target, wire: Wire, headers: dict[str, str]) -> list[Channel]:
    config = config_of((await wire.ask("GET", "/config", PROBE)).json())
    channels: list[Channel] = [GradioChannel(config, target.endpoint)]
    if not config.is_own:
        return channels
    agent = target.model or (await _first_model(wire, "/v1", headers) if target.keys else OWN_AGENT)
    if agent is None:
        raise TargetError("the target takes none of the keys of --key")
    if (await wire.try_("GET", f"/embed/{quote(agent)}", PROBE)).status == 200:
        channels.append(WidgetChannel(agent))
    if target.keys:
        channels.append(RestChannel(_own_rest(agent), target.keys))
        channels.append(OpenAIChannel(agent, target.keys, "/v1"))
    return channels


async def _first_model(wire: Wire, prefix: str, headers: dict[str, str]) -> str | None:
    reply = await wire.try_("GET", f"{prefix}/models", PROBE, headers=headers)
    if reply.status == NOT_FOUND:
        return None
    if reply.status != 200:
        await wire.ask("GET", f"{prefix}/models", PROBE, headers=headers)
    value: Any = reply.json()
    try:
        return str(value["data"][0]["id"])
    except (LookupError, TypeError):
        return None


def _own_rest(agent: str) -> Description:
    """Return the description of this project's REST interface."""
    key = {"authorization": "Bearer {key}"}
    session = f"/api/chat/{agent}/sessions/{{session}}"
    own = [
        {"method": "GET", "path": path, "headers": key} for path in (session, f"{session}/export")
    ]
    message = {
        "path": f"/api/chat/{agent}/message",
        "headers": key,
        "body": {"message": "{message}", "session_id": "{session}"},
    }
    return Description.model_validate({"message": message, "look_back": own, "borrow": own})
