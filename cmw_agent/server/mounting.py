"""Mounts the app below a path of another ASGI app, such as a FastAPI app."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette

from cmw_agent.config.settings import variable
from cmw_agent.core.errors import StartupError
from cmw_agent.server.build import Application


def mount(parent: Starlette, app: Application, path: str = "/chat") -> None:
    """Serve an app below a path of another one, whose lifespan it joins.

    Args:
        parent: A Starlette or FastAPI app, also one with Gradio apps mounted in it. Its routes that
            were added before come first.
        app: Made with `create_app`, for that path.
        path: Where it is served; the same as the app's `CMW_ROOT_PATH`.

    Raises:
        StartupError: The app was made for another path.
    """
    root = app.runtime.settings.root_path
    if root != path:
        raise StartupError(
            f"mount: the app must be made for the path {path!r}, not {root!r}: set "
            f"{variable('root_path')}={path}, or call create_app(…, root_path={path!r})"
        )
    parent.mount(path, app)
    own, outer = app.own, parent.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(served: Any) -> AsyncIterator[Any]:
        async with outer(served) as state, own.router.lifespan_context(own):
            yield state

    parent.router.lifespan_context = lifespan
