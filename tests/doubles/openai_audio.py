"""The OpenAI double's `/audio/transcriptions`.

The model's name chooses the answer: ``status-500`` an HTTP error, ``no-text`` JSON without a text,
any other name the file's name and the words of lower-case letters in its bytes.
"""

import re
from collections.abc import Sequence

from tests.doubles.openai_http import Message
from tests.doubles.openai_steps import Plain, Step
from tests.doubles.openai_wire import encode, error_body

_PATH = "/v1/audio/transcriptions"
_PART = re.compile(rb'name="(\w+)"(?:; filename="([^"]*)")?(.*)', re.DOTALL)


def transcription(message: Message) -> Sequence[Step] | None:
    """Return the steps of the answer; None for a request to another path."""
    if (message.method, message.path) != ("POST", _PATH):
        return None
    form = fields(message)
    if not {"model", "file", "filename"} <= form.keys():
        return [Plain(400, error_body("no file", kind="invalid_request_error", code=None))]
    model = form.get("model", b"").decode()
    if model.startswith("status-"):
        status = int(model.removeprefix("status-"))
        return [Plain(status, error_body("not now", kind="server_error", code=None))]
    if model == "no-text":
        return [Plain(200, encode({"words": 3}))]
    words = b" ".join(re.findall(rb"[a-z]{3,}", form.get("file", b""))).decode()
    return [Plain(200, encode({"text": f"{form['filename'].decode()} {words}"}))]


def fields(message: Message) -> dict[str, bytes]:
    """Return the fields of a multipart form; the name of its file is the field ``filename``."""
    boundary = message.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    if not boundary:
        return {}
    values: dict[str, bytes] = {}
    for part in message.body.split(b"--" + boundary)[1:-1]:
        head, _, body = part.partition(b"\r\n\r\n")
        match = _PART.search(head)
        if match is not None:
            values[match[1].decode()] = body.removesuffix(b"\r\n")
            if match[2] is not None:
                values["filename"] = match[2]
    return values
