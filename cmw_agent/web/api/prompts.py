"""A user's saved prompts and the commands they can write, for the menu of the message box."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.chat.commands import ChatCommands
from cmw_agent.conversations.prompts import MAX_CHARS, PromptService
from cmw_agent.identity.principals import Principal
from cmw_agent.language.request_language import request_language
from cmw_agent.web.api.endpoint import body, guarded, text
from memory.records import SavedPrompt

MAX_BODY_BYTES = 131_072  # a name and a text, each character as up to twelve bytes of JSON


class PromptRoutes:
    """The routes of saved prompts.

    Args:
        prompts: Returns the use cases; raises `Unavailable` before the start and after the end.
        commands: Returns the commands; raises likewise.
        has_servers: Whether MCP servers may offer further prompts.
    """

    def __init__(
        self,
        prompts: Callable[[], PromptService],
        commands: Callable[[], ChatCommands],
        *,
        has_servers: bool = False,
    ) -> None:
        self._has_servers = has_servers
        self._prompts = prompts
        self._commands = commands

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="prompts")
        return [
            Route("/prompts", answered(self.listed, nobody=self.commands_alone)),
            Route("/prompts/create", answered(self.create), methods=["POST"]),
            Route("/prompts/update", answered(self.update), methods=["POST"]),
            Route("/prompts/delete", answered(self.delete), methods=["POST"]),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """The caller's prompts, and the commands."""
        return self._answer(request, await self._prompts().prompts(principal))

    async def create(self, request: Request, principal: Principal) -> Response:
        """Save a prompt of the caller's."""
        content = await body(request, MAX_BODY_BYTES)
        name, written = text(content, "name"), text(content, "text")
        saved = await self._prompts().create(principal, name, written, _address(request))
        return JSONResponse(_item(saved))

    async def update(self, request: Request, principal: Principal) -> Response:
        """Change one of the caller's prompts."""
        content = await body(request, MAX_BODY_BYTES)
        prompt_id, name, written = (text(content, field) for field in ("id", "name", "text"))
        await self._prompts().update(principal, prompt_id, name, written, _address(request))
        return JSONResponse({})

    async def delete(self, request: Request, principal: Principal) -> Response:
        """Delete one of the caller's prompts."""
        await self._prompts().delete(principal, text(await body(request), "id"))
        return JSONResponse({})

    def commands_alone(self, request: Request) -> Response:
        """The commands, for those who prove nothing: nothing of theirs is saved."""
        return self._answer(request, [])

    def _answer(self, request: Request, prompts: list[SavedPrompt]) -> Response:
        language = request_language(request.scope)
        commands = [
            {
                "usage": language.translate(command.usage),
                "help": language.translate(command.help),
            }
            for command in self._commands().available()
        ]
        saved = [_item(prompt) for prompt in prompts]
        return JSONResponse(
            {
                "prompts": saved,
                "commands": commands,
                "max_chars": MAX_CHARS,
                "servers": self._has_servers,
            }
        )


def _item(prompt: SavedPrompt) -> dict[str, str]:
    return {"id": prompt.prompt_id, "name": prompt.name, "text": prompt.text}


def _address(request: Request) -> str | None:
    return request.client.host if request.client is not None else None
