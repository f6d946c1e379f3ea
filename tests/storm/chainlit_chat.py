"""A Chainlit chat with a login that keeps its users apart, but for those whose name begins with ``shared``.

It runs in the clients' environment.
"""

import chainlit as cl  # type: ignore[import-not-found]

SHARED: list[str] = []


@cl.password_auth_callback  # type: ignore[untyped-decorator]
def sign_in(name: str, password: str) -> cl.User | None:
    return cl.User(identifier=name) if password == "secret" else None


@cl.on_message  # type: ignore[untyped-decorator]
async def answer(message: cl.Message) -> None:
    own = cl.user_session.get("texts") or []
    cl.user_session.set("texts", own)
    texts = SHARED if cl.user_session.get("user").identifier.startswith("shared") else own
    texts.append(message.content)
    text = "You have told me:\n" + "\n".join(texts)
    reply = cl.Message("")
    for start in range(0, len(text), 7):
        await reply.stream_token(text[start : start + 7])
    await reply.send()
