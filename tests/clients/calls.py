"""Makes the calls of a LiteLLM user at an address; runs in the clients' environment."""

import json
import sys
from typing import Any

import litellm  # type: ignore[import-not-found]

BASE, KEY = sys.argv[1:3]
TOOL = {
    "type": "function",
    "function": {
        "name": "shout",
        "description": "Shout a word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}


def complete(model: str, messages: list[dict[str, Any]], **more: Any) -> Any:
    """Return LiteLLM's answer."""
    return litellm.completion(
        model=f"openai/{model}", api_base=BASE, api_key=KEY, messages=messages, **more
    )


def main() -> None:
    """Print what each kind of call gives, as JSON."""
    question = [{"role": "user", "content": "one"}]
    whole = complete("echo", question, temperature=0.1, max_tokens=100)
    pieces = complete("echo", question, stream=True)
    calling = complete("tool", question, tools=[TOOL], tool_choice="auto")
    response = litellm.responses(model="openai/echo", api_base=BASE, api_key=KEY, input="two")
    try:
        complete("nothing", question)
        error = "none"
    except litellm.NotFoundError:
        error = "NotFoundError"
    found = {
        "whole": whole.choices[0].message.content,
        "streamed": "".join(piece.choices[0].delta.content or "" for piece in pieces),
        "call": calling.choices[0].message.tool_calls[0].function.name,
        "response": response.output[0].content[0].text,
        "error": error,
    }
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
