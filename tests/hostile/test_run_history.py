"""CVE-2026-134825: Gradio's run history, which lends the machine's Hugging Face token, has no way in.

The hole is in 6.27 to 6.31, which brought a run history on the server. Three locks are tried one by
one, and each against Gradio without it: a check that cannot fail proves nothing.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
import pytest_asyncio
from fastapi import Request
from gradio import history

from cmw_agent.server.build import build_app
from cmw_agent.web.security.route_allowlist import API
from tests.harness import Browser, canary, last_text, settings_for
from tests.isolation.test_routes import example, routes
from tests.isolation.wire import ask
from tests.isolation.world import AppWithModel, app_with_model

METHODS = ("GET", "HEAD", "POST")
LOCAL, FAR = ("127.0.0.1", 40_000), ("192.0.2.1", 40_000)
BUCKET = {history.BUCKET_HEADER: "operator/private"}
shared = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def token() -> Iterator[str]:
    """A machine whose operator has signed in at Hugging Face and wishes for everything."""
    secret = canary()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", secret)
        patch.setenv("GRADIO_RUN_HISTORY", "True")
        patch.setenv("GRADIO_SSR_MODE", "True")
        patch.setenv("GRADIO_HISTORY_BUCKET", "operator/private")
        patch.delenv("SPACE_ID", raising=False)
        yield secret


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(token: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("run-history")) as made:
        yield made


def stock_app() -> Any:
    """Return Gradio's own app of a page, with all that Gradio switches on by itself."""
    with gr.Blocks() as stock:
        gr.Markdown("")
    stock.run_history = True
    return stock.app


def history_routes(paths: list[str]) -> list[str]:
    return sorted(path for path in paths if "/run-history" in path)


def local_request(app: object) -> Request:
    return Request(
        {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "query_string": b"",
            "server": ("127.0.0.1", 7860),
            "client": LOCAL,
            "headers": [(name.encode(), value.encode()) for name, value in BUCKET.items()],
            "session": {},
            "app": app,
        }
    )


@shared
async def test_the_guard_knows_none_of_its_routes(here: AppWithModel, token: str) -> None:
    paths = history_routes(list(routes(stock_app())))
    assert len(paths) == 4  # Gradio has them, so that closing them says something
    for method in METHODS:
        unknown = await ask(here.url, method, "/no-such-route", BUCKET)
        assert unknown.status == 404
        for path in (*paths, f"{API}/runs", f"{API}/runs/"):
            answer = await ask(here.url, method, example(path), BUCKET)
            assert answer == unknown, (method, path)
            assert token.encode() not in answer.body


@shared
async def test_gradio_by_itself_answers_there(token: str) -> None:
    transport = httpx.ASGITransport(stock_app(), client=FAR)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get(f"{API}/run-history/buckets")
    # From another machine it wants a login; a caller of this one would get the operator's buckets.
    assert answer.status_code == 401


@shared
async def test_the_app_behind_the_guard_has_no_such_routes(token: str, tmp_path: Path) -> None:
    app = build_app(settings_for(tmp_path))
    assert not history_routes(list(routes(app.gradio)))
    assert f"{API}/runs" in set(routes(app.gradio))  # the walk has seen the routes beside them
    assert app.demo.ssr_mode is False  # nor does Node stand in front of it


@shared
async def test_no_run_is_recorded_whatever_environment_and_caller_ask(
    here: AppWithModel, token: str
) -> None:
    ours = here.app.application.gradio
    assert history.resolve_target(ours, local_request(ours)) is None
    stock = stock_app()
    target = history.resolve_target(stock, local_request(stock))
    assert target is not None
    assert (target.bucket, target.token) == ("operator/private", token)


@shared
async def test_a_message_with_a_bucket_is_answered_and_recorded_nowhere(here: AppWithModel) -> None:
    async with Browser(here.url) as browser:
        tab = await browser.open(headers=BUCKET)
        assert last_text((await tab.send("Hello")).value)
    assert not getattr(here.app.application.gradio.state, "history_tasks", None)
    assert not here.app.application.demo._queue.event_queue_per_concurrency_id  # nothing joined it
