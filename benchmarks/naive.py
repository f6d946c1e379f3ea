"""The chat of most Gradio tutorials: ChatInterface over langchain-openai.

It has no database, identities or limits; the benchmark compares the app with it.
``python -m benchmarks.naive PORT`` serves it.
"""

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr


def build(model: ChatOpenAI) -> gr.ChatInterface:
    """Return the chat with `model`."""

    async def respond(message: str, history: list[dict[str, Any]]) -> AsyncIterator[str]:
        messages: list[BaseMessage] = []
        for item in history:
            text = item["content"][0]["text"]
            messages.append(HumanMessage(text) if item["role"] == "user" else AIMessage(text))
        messages.append(HumanMessage(message))
        answer = ""
        async for chunk in model.astream(messages):
            answer += str(chunk.text)
            yield answer

    return gr.ChatInterface(respond, concurrency_limit=None)


def main() -> None:
    """Serve on 127.0.0.1 at the port of the command line."""
    model = ChatOpenAI(
        model_name=os.environ["CMW_MODEL"],
        openai_api_key=SecretStr(os.environ["OPENAI_API_KEY"]),
        stream_usage=True,
    )
    chat = build(model)
    chat.queue(default_concurrency_limit=None)
    chat.launch(
        server_name="127.0.0.1",
        server_port=int(sys.argv[1]),
        quiet=True,
        show_error=False,
        max_threads=1_000,
        ssr_mode=False,
    )


if __name__ == "__main__":
    main()
