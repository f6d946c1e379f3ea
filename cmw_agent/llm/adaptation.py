"""Names what an endpoint does not take, and makes requests that leave it out.

Servers of the same interface refuse different parts of a request: tools, the system role, two
user messages in a row, a sampling parameter. The text of the refusal names the part; the request
is then sent once more without it. Both functions are pure.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

from cmw_agent.llm.errors import ErrorDetails
from cmw_agent.llm.message_forms import (
    Message,
    alternating,
    decoded,
    has_calls,
    has_parts,
    has_repeats,
    with_text_calls,
    with_text_parts,
    without_system,
)


class Adaptation(StrEnum):
    """A part of requests that an endpoint refuses for a model; the value names it in the log."""

    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    TOOL_CHOICE = "tool_choice"
    TOOLS = "tools"
    IMAGES = "images"
    SYSTEM = "the system role"
    ALTERNATION = "messages of one role in a row"
    STREAM_OPTIONS = "stream_options"
    STREAM = "stream"
    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    SEED = "seed"
    FREQUENCY_PENALTY = "frequency_penalty"
    PRESENCE_PENALTY = "presence_penalty"
    REASONING_EFFORT = "reasoning_effort"
    VERBOSITY = "verbosity"
    SERVICE_TIER = "service_tier"
    STORE = "store"
    METADATA = "metadata"
    SAFETY_IDENTIFIER = "safety_identifier"
    PROMPT_CACHE_KEY = "prompt_cache_key"
    CACHE_SALT = "cache_salt"
    USER = "user"


REFUSALS = frozenset({400, 404, 422, 500, 501})  # statuses with which servers name a part
SWAPPED = {
    Adaptation.MAX_TOKENS: Adaptation.MAX_COMPLETION_TOKENS,
    Adaptation.MAX_COMPLETION_TOKENS: Adaptation.MAX_TOKENS,
}
NO_FIELDS = frozenset({Adaptation.IMAGES, Adaptation.SYSTEM, Adaptation.ALTERNATION})
FIELDS = tuple(part for part in Adaptation if part not in NO_FIELDS)

REFUSED = re.compile(
    r"\b(not|un|isn.t|no) ?(currently |yet |been |be )?(support|implement|enabl|allow|permit|avail)"
    r"|\b(not|un) ?(recogni|known|accept|expected|valid)|extra (inputs?|fields?)|extra_forbidden"
    r"|(doesn.t|do not|does not|don.t|cannot|can.t|must not|won.t) \w+|only (support|allow|accept)"
    r"|only .{0,60}(is|are) (support|allow|accept|permit)|requires?\b|must be (set|verified)"
    r"|deprecated|disabled|invalid (field|parameter|argument|key|role|message role)|no endpoints found that"
    r"|additional propert|missing data",
    re.IGNORECASE,
)
# What a server must say with a status from 500, where most texts tell of passing faults.
CLEARLY_REFUSED = re.compile(
    r"(not|n.t|un) ?(currently |yet )?(support|implement|enabl)|requires? (the )?--|alternat",
    re.IGNORECASE,
)
REFUSAL_CODES = re.compile(
    r"unsupported|unknown|unrecognized|extra_forbidden|not_supported|not_allowed", re.IGNORECASE
)
TOOLS = re.compile(
    r"\btools?\b(?!_calls?| calls? must|.{0,30} must be a response)|\btool[ _-]?(use|calling|choice"
    r"|calls)\b|\bfunctions?([ _-]call\w*)?\b",
    re.IGNORECASE,
)
# Faults of the tools or calls themselves, which other requests need not have.
FAULTY_TOOLS = re.compile(
    r"invalid schema|array too long|must be followed|must be a response|preceding message|missing|signature"
    r"|tool_call_id|\.name\b|\.parameters\b|duplicate",
    re.IGNORECASE,
)
SYSTEM = re.compile(
    r"\b(system|developer)['\"`]? (role|message|prompt|instruction)|role:? ['\"`]?(system|developer)"
    r"|['\"`](system|developer)['\"`]|only ['\"`]?user\b.{0,40}\bassistant\b.{0,40}\brole",
    re.IGNORECASE,
)
SAMPLING = frozenset({Adaptation.TEMPERATURE, Adaptation.TOP_P})
FIXED = re.compile(r"(must|should|can|may)( only)? be\b", re.IGNORECASE)  # of a sampling parameter
THINKING = re.compile(r"\bthink(ing)?\b|\breasoning\b", re.IGNORECASE)
WRONG_ROLE = re.compile(r"messages[.\[]\d+\]?\.role: ")  # by a parameter's place
ALTERNATION = re.compile(
    r"\balternat(e|es|ing|ion)\b|consecutive .{0,30}(messages?|roles?|turns?)|(messages?|roles?)"
    r" in a row|same role|duplicate (user|assistant) messages|(first|last) message .{0,30}(must|should) be.{0,20}\buser",
    re.IGNORECASE,
)
IMAGES = re.compile(
    r"image[ _]input|image_url|(support|accept|process|handle|with)\w{0,8} (any )?(images?|vision|multi-?modal)"
    r"|\bvision\b|multi-?modal|mmproj|at most 0 images?|content must be (a )?string"
    r"|content.{0,40}should be a valid string|non-?text|text[ -]only|content (type|parts?)",
    re.IGNORECASE,
)
# Faults of one picture, which other requests need not have.
FAULTY_IMAGES = re.compile(
    r"(invalid|unsupported|corrupt\w{0,8}|large|big) (base64 )?(image|picture)|image (data|format|size"
    r"|type|file|url is)|could not (process|download|fetch|decode|load)|failed to|download",
    re.IGNORECASE,
)
STREAM = re.compile(
    r"\bstream(ing)?\b['\"`]?( mode| responses?| option| parameter|=true)?( is| are)? (not |un|dis)"
    r"(support|allow|permit|avail|enabl|implement|abled)|stream['\"`]? (must be|only) false"
    r"|(not|n.t) (support|allow|permit)\w* ['\"`]?stream|to stream this model"
    r"|unsupported.{0,20}['\"`]stream['\"`]|supports? stream=false",
    re.IGNORECASE,
)


def named(details: ErrorDetails | None, payload: Mapping[str, Any]) -> Adaptation | None:
    """Return the part of a request that a refusal names; None where it names none.

    Args:
        details: What the server said. What it quoted of the messages must not be in it, since a
            user's words would otherwise decide what is sent.
        payload: The refused request, whose messages are decoded. Only a part that it has can be
            named.
    """
    if details is None or (details.status is not None and details.status not in REFUSALS):
        return None
    text = details.text or details.message
    if (details.status or 0) >= 500 and not CLEARLY_REFUSED.search(text):
        return None
    is_refusal = bool(
        REFUSED.search(text) or REFUSAL_CODES.search(f"{details.code} {details.type}")
    )
    return (
        _named_field(details, text, payload, is_refusal=is_refusal)
        or _named_messages(f"{details.param}: {text}", payload, is_refusal=is_refusal)
        or _named_tools(details, text, payload, is_refusal=is_refusal)
        or _named_stream(details, text, payload)
    )


def apply(payload: Mapping[str, Any], learned: Collection[Adaptation]) -> dict[str, Any]:
    """Return a request without the parts in `learned`; `payload` is not changed.

    Messages are decoded only where `learned` concerns them.
    """
    request = dict(payload)
    if not learned:
        return request
    for part in FIELDS:
        if part in learned and part in request:
            value = request.pop(part)
            if part in SWAPPED and SWAPPED[part] not in learned:
                request.setdefault(SWAPPED[part], value)
    if Adaptation.TOOLS in learned:
        request.pop("tool_choice", None)
        request.pop("parallel_tool_calls", None)
    if Adaptation.STREAM in learned:
        request.pop("stream_options", None)
        request["stream"] = False
    steps = [step for part, step in STEPS if part in learned]
    if steps and "messages" in request:  # the Responses API has an `input` in their place
        messages = decoded(request["messages"])
        for step in steps:
            messages = step(messages)
        request["messages"] = messages
    return request


STEPS = (
    (Adaptation.TOOLS, with_text_calls),
    (Adaptation.IMAGES, with_text_parts),
    (Adaptation.SYSTEM, without_system),
    (Adaptation.ALTERNATION, alternating),
)


def _named_field(
    details: ErrorDetails, text: str, payload: Mapping[str, Any], *, is_refusal: bool
) -> Adaptation | None:
    for part in FIELDS:
        if part in (Adaptation.TOOLS, Adaptation.STREAM) or part not in payload:
            continue
        if not is_refusal and not (part in SAMPLING and FIXED.search(text)):
            continue
        if details.param == part or _stands_alone(part, text):
            return part
    if is_refusal and Adaptation.REASONING_EFFORT in payload and THINKING.search(text):
        return Adaptation.REASONING_EFFORT
    return None


def _stands_alone(field: str, text: str) -> bool:
    """Return whether `text` has `field` as a parameter's name rather than as a word."""
    first, *others = field.split("_")
    name = f"(?:{field}|{first}{''.join(map(str.capitalize, others))})"  # or reasoningEffort
    if "_" in field or field in ("temperature", "seed"):
        return re.search(rf"(?<![\w-]){name}(?![\w-])", text, re.IGNORECASE) is not None
    quoted = rf"['\"`]{name}['\"`]|\b(body\.|body, )['\"]?{name}\b"
    introduced = (
        rf"(arguments?|parameters?|fields?|keys?|propert(y|ies)|supplied|inputs?):? {name}\b"
    )
    first = rf"\A{name}: "
    return re.search(f"{quoted}|{introduced}|{first}", text, re.IGNORECASE) is not None


def _named_messages(
    text: str, payload: Mapping[str, Any], *, is_refusal: bool
) -> Adaptation | None:
    messages: Sequence[Message] = payload.get("messages") or ()
    has_system = any(message.get("role") in ("system", "developer") for message in messages)
    if ALTERNATION.search(text) and has_repeats(messages):
        return Adaptation.ALTERNATION
    if has_system and (
        ALTERNATION.search(text)
        or WRONG_ROLE.match(text)
        or (SYSTEM.search(text) and (is_refusal or "must be" in text))
    ):
        return Adaptation.SYSTEM
    is_image = IMAGES.search(text) and not FAULTY_IMAGES.search(text)
    if is_image and (is_refusal or "must be" in text or "should be" in text or "0 image" in text):
        return Adaptation.IMAGES if has_parts(messages) else None
    return None


def _named_tools(
    details: ErrorDetails, text: str, payload: Mapping[str, Any], *, is_refusal: bool
) -> Adaptation | None:
    messages: Sequence[Message] = payload.get("messages") or ()
    if not payload.get("tools") and not has_calls(messages):
        return None
    is_named = details.param == "tools" or TOOLS.search(text)
    if is_refusal and is_named and not FAULTY_TOOLS.search(text):
        return Adaptation.TOOLS
    return None


def _named_stream(
    details: ErrorDetails, text: str, payload: Mapping[str, Any]
) -> Adaptation | None:
    if payload.get("stream") and (details.param == "stream" or STREAM.search(text)):
        return Adaptation.STREAM
    return None
