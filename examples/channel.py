"""A channel of one's own: a webhook whose body its sender signs, such as a messenger's.

    uvicorn channel:app

The page of the chat is at /chat.
"""

import hashlib
import hmac
import os

from fastapi import FastAPI, HTTPException, Request
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from cmw_agent import Agent, Run, UserError, create_app, mount

SECRET = os.environ.get("HOOK_SECRET", "").encode()


class Update(BaseModel):
    """What the messenger delivers: who has written what, under an id of the message."""

    message_id: str
    sender: str
    text: str


async def answer(messages: list[BaseMessage], run: Run) -> str:
    """Answer with all that the person has written."""
    return "You wrote: " + ", ".join(str(m.text) for m in messages if m.type == "human")


chat = create_app(agents=[Agent(id="echo", name="Echo", graph=answer)], root_path="/chat")
app = FastAPI()
mount(app, chat, path="/chat")


@app.post("/hook")
async def hook(request: Request) -> dict[str, str]:
    """Answer a message whose signature is right."""
    body = await request.body()
    expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    if not SECRET or not hmac.compare_digest(request.headers.get("x-signature", ""), expected):
        raise HTTPException(401)
    update = Update.model_validate_json(body)
    person = chat.party("messenger", update.sender)  # verified: the signed body names them
    try:
        return {"text": await person.say(update.text, key=update.message_id)}
    except UserError as error:
        return {"text": str(error)}
