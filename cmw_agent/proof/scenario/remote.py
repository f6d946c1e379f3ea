"""An endpoint in OpenAI's form as an agent of a scenario, such as a running deployment's ``/v1``."""

import os
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urldefrag, urlsplit

from pydantic import SecretStr

from cmw_agent.core.errors import StartupError

KEY = "SCENARIO_API_KEY"


def is_address(reference: str) -> bool:
    """Return whether a reference names an endpoint, not an agent in Python."""
    return urlsplit(reference).scheme in ("http", "https")


class RemoteAgent:
    """Asks an endpoint with the whole conversation; each user has a name of their own there.

    Args:
        reference: The endpoint's address, and after ``#`` the model, such as
            ``http://127.0.0.1:7860/v1#assistant``.

    Raises:
        StartupError: No model is named.
    """

    def __init__(self, reference: str) -> None:
        self._address, self._model = urldefrag(reference)
        if not self._model:
            raise StartupError(f"{reference}: the model is missing; write {reference}#MODEL")

    async def answer(self, messages: Sequence[Any], run: Any) -> AsyncIterator[str]:
        """Yield the answer's pieces."""
        from langchain_openai import ChatOpenAI  # noqa: PLC0415 (a second, for those who ask for it)

        model = ChatOpenAI(
            openai_api_base=self._address,
            model_name=self._model,
            openai_api_key=SecretStr(os.environ.get(KEY, "none")),
            model_kwargs={"user": run.conversation_id},
            max_retries=0,
        )
        async for chunk in model.astream(list(messages)):
            yield chunk.text
