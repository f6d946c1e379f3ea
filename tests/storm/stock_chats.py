"""Gradio chats as tutorials write them, each below a path of its own: what a storm is to find.

``python -m tests.storm.stock_chats PORT`` serves them.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

Messages = list[dict[str, Any]]


def reply(texts: list[str]) -> str:
    return "You have told me:\n" + "\n".join(texts)


def global_history() -> gr.Blocks:
    """A list of the module holds the conversation, whoever writes."""
    history: list[str] = []

    def respond(message: str, _shown: Messages) -> str:
        history.append(message)
        return reply(history)

    return gr.ChatInterface(respond)


def default_session() -> gr.Blocks:
    """A dictionary by session, of which everybody has the same."""
    sessions: dict[str, list[str]] = {}

    def chat(message: str, shown: Messages, session_id: str = "default") -> tuple[str, Messages]:
        texts = sessions.setdefault(session_id, [])
        texts.append(message)
        answer = [
            {"role": "user", "content": message},
            {"role": "assistant", "content": reply(texts)},
        ]
        return "", [*shown, *answer]

    demo: gr.Blocks = gr.Blocks()
    with demo:
        chatbot, box = gr.Chatbot(), gr.Textbox()
        box.submit(chat, [box, chatbot], [box, chatbot])
    return demo


def state_of_the_session() -> gr.Blocks:
    """`gr.State`, as Gradio's guide has it, and an answer that is streamed."""

    def user(message: str, shown: Messages) -> tuple[str, Messages]:
        return "", [*shown, {"role": "user", "content": message}]

    async def bot(shown: Messages, told: list[str]) -> Any:
        texts = [*told, shown[-1]["content"][0]["text"]]
        answer = reply(texts)
        for end in range(0, len(answer), 40):
            await asyncio.sleep(0.01)
            yield [*shown, {"role": "assistant", "content": answer[: end + 40]}], texts

    demo: gr.Blocks = gr.Blocks()
    with demo:
        chatbot, box, told = gr.Chatbot(), gr.Textbox(), gr.State([])
        box.submit(user, [box, chatbot], [box, chatbot], queue=False).then(
            bot, [chatbot, told], [chatbot, told], concurrency_limit=None
        )
    return demo


class Agent:
    """An agent with a memory in it, as a class of a tutorial."""

    def __init__(self) -> None:
        self.memory: list[str] = []

    def run(self, message: str) -> Iterator[str]:
        self.memory.append(message)
        answer = reply(self.memory)
        yield answer[: len(answer) // 2]
        yield answer


def global_agent() -> gr.Blocks:
    """One agent of the module answers everybody."""
    agent = Agent()

    def respond(message: str, _shown: Messages) -> Iterator[str]:
        yield from agent.run(message)

    return gr.ChatInterface(respond)


CHATS = {
    "history": global_history,
    "default": default_session,
    "state": state_of_the_session,
    "agent": global_agent,
}


def main(port: int) -> None:
    app = FastAPI()
    for name, build in CHATS.items():
        app = gr.mount_gradio_app(app, build(), path=f"/{name}")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    main(int(sys.argv[1]))
