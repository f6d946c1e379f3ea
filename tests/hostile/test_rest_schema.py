"""Hostile: generated requests, valid or not by the OpenAPI description, cause no server error."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.core.result import Ok

from tests.isolation.world import app_with_model

KEY = "k" * 32
EXAMPLES = 6  # of each operation, fitting and not


def statuses_of(cases: SearchStrategy[Any], url: str) -> list[int]:
    """Send requests; return their statuses, none of which is an error of the app's.

    They come one after another, so that the app has room for each.
    """
    found: list[int] = []

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def sent(case: Any) -> None:
        answer = case.call(base_url=url, headers={"Authorization": f"Bearer {KEY}"})
        found.append(answer.status_code)
        assert answer.status_code < 500, (answer.text, case.as_curl_command())

    sent()
    return found


def ask(url: str, document: dict[str, Any]) -> list[tuple[str, int]]:
    """Send requests made from `document`; return (operation, status) of each."""
    found: list[tuple[str, int]] = []
    schema = schemathesis.openapi.from_dict(document)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            cases = operation.as_strategy(generation_mode=mode)
            found += [(operation.label, status) for status in statuses_of(cases, url)]
    return found


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """Let paths name an agent and sessions that there are, or requests would end there."""
    known: dict[str, list[str] | list[int]] = {
        "agent_id": ["assistant"],
        "model_id": ["assistant"],
        "session_id": ["one", "two"],
        "file_id": ["0" * 32],
        "share_id": ["0" * 32],
        "seq": [1, 2, 9],
    }
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"]["enum"] = known[parameter["name"]]
    return document


async def begin(http: aiohttp.ClientSession, url: str) -> None:
    """Say something in a session, so that there is one."""
    content = {"message": "Hello", "session_id": "one"}
    headers = {"Authorization": f"Bearer {KEY}"}
    path = f"{url}/api/chat/assistant/message"
    async with http.post(path, json=content, headers=headers) as answer:
        assert answer.status == 200


@pytest.mark.slow
async def test_no_request_that_the_description_allows_or_forbids_breaks_the_app(
    tmp_path: Path,
) -> None:
    async with (
        app_with_model(tmp_path, api_keys=f"shop:{KEY}", shares="link") as app,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"{app.url}/api/openapi.json") as answer:
            document = await answer.json()
        await begin(http, app.url)
        found = await asyncio.to_thread(ask, app.url, narrowed(document))
    operations = {(method, path) for path, item in document["paths"].items() for method in item}
    assert len(operations) == 26
    assert len({label for label, _ in found}) == len(operations)
    statuses = {status for _, status in found}
    assert {
        200,
        201,
        204,
        400,
        404,
        422,
    } <= statuses  # the requests reach what is behind the checks
