"""The OpenAI double's `/audio/transcriptions`: says what it was sent, by fields of the form.

The model's name chooses the answer: ``status-500`` an HTTP error, ``no-text`` JSON without a text,
anything else the recording's own bytes, as far as they are letters.
"""

import re
from collections.abc import Sequence

from tests.doubles.openai_http import Message
from tests.doubles.openai_steps import Plain, Step
from tests.doubles.openai_wire import encode, error_body

_PATH = "/v1/audio/transcriptions"
_PART = re.compile(rb'name="(\w+)"(?:; filename="([^"]*)")?(.*)', re.DOTALL)


def transcription(message: Message) -> Sequence[Step] | None:
    """The steps of an answer, or None for what is no recording."""
    if (message.method, message.path) != ("POST", _PATH):
        return None
    form = fields(message)
    model = form.get("model", b"").decode()
    if model.startswith("status-"):
        status = int(model.removeprefix("status-"))
        return [Plain(status, error_body("not now", kind="server_error", code=None))]
    if model == "no-text":
        return [Plain(200, encode({"words": 3}))]
    heard = b" ".join(re.findall(rb"[a-z]{3,}", form.get("file", b""))).decode()
    return [Plain(200, encode({"text": f"{form['filename'].decode()} {heard}"}))]


def fields(message: Message) -> dict[str, bytes]:
    """The form's fields; the file's name is one of its own."""
    boundary = message.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    found: dict[str, bytes] = {}
    for part in message.body.split(b"--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        match = _PART.search(head)
        if match is not None:
            found[match[1].decode()] = body.removesuffix(b"\r\n")
            if match[2] is not None:
                found["filename"] = match[2]
    return found
