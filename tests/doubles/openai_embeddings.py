"""The OpenAI double's `/embeddings`.

The model's name chooses the answer: ``status-400`` an HTTP error that quotes the input, any other
name for each text the numbers of its characters and of its words.
"""

import base64
import struct
from collections.abc import Sequence

from tests.doubles.openai_steps import Plain, Request, Step
from tests.doubles.openai_wire import encode, error_body

PATH = "/v1/embeddings"


def embeddings(request: Request) -> Sequence[Step]:
    """Return the steps of the answer."""
    model, texts = request.model, request.body.get("input")
    if model.startswith("status-"):
        status = int(model.removeprefix("status-"))
        return [Plain(status, error_body(f"no: {texts}", kind="invalid", code=None))]
    texts = texts if isinstance(texts, list) else [texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(str(text), request)}
        for index, text in enumerate(texts)
    ]
    tokens = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return [Plain(200, encode({"object": "list", "data": data, "model": model, "usage": usage}))]


def _vector(text: str, request: Request) -> str | list[float]:
    numbers = [float(len(text)), float(len(text.split()))]
    if request.body.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack("<2f", *numbers)).decode()
