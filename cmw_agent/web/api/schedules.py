"""A user's recurring tasks for the page's settings: the list, and the end of one."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cmw_agent.identity.principals import Principal
from cmw_agent.language.request_language import request_language
from cmw_agent.schedules.service import ScheduleService, TaskSummary
from cmw_agent.web.api.endpoint import body, guarded, text


class ScheduleRoutes:
    """The routes of recurring tasks.

    Args:
        schedules: Returns the use cases, None where nobody may have any; raises `Unavailable`
            before the start and after the end.
    """

    def __init__(self, schedules: Callable[[], ScheduleService | None]) -> None:
        self._schedules = schedules

    def routes(self) -> list[Route]:
        """Return the routes, for the app's own router."""
        answered = partial(guarded, about="schedules")
        return [
            Route("/schedules", answered(self.listed, nobody=_empty)),
            Route("/schedules/cancel", answered(self.cancel), methods=["POST"]),
        ]

    async def listed(self, request: Request, principal: Principal) -> Response:
        """The caller's recurring tasks."""
        service = self._schedules()
        tasks = (
            await service.tasks(principal.id, request_language(request.scope))
            if service is not None
            else []
        )
        return JSONResponse({"schedules": [_item(task) for task in tasks]})

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """End one of the caller's recurring tasks."""
        service, task_id = self._schedules(), text(await body(request), "id")
        if service is not None:
            await service.cancel(principal.id, task_id, request_language(request.scope))
        return JSONResponse({})


def _empty(_: Request) -> Response:
    return JSONResponse({"schedules": []})


def _item(task: TaskSummary) -> dict[str, str | bool]:
    return {
        "id": task.id,
        "text": task.text,
        "when": task.when,
        "next": task.next_run.isoformat(),
        "stopped": task.is_stopped,
    }
