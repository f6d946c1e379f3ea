"""`/v1/embeddings` and `/v1/audio/transcriptions`, passed on to the endpoint, with OpenAI's own client."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio

from tests.doubles.openai_embeddings import PATH
from tests.harness import canary
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, SHOP

shared = pytest.mark.asyncio(loop_scope="module")
RECORDING = ("a.wav", b"RIFF the words of this recording", "audio/wav")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(tmp_path_factory.mktemp("relayed"), api_keys=KEYS) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def ai(here: AppWithModel) -> AsyncIterator[openai.AsyncOpenAI]:
    async with connected(here.url) as made:
        yield made


def connected(url: str, key: str = SHOP) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=20)


@shared
@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}])
async def test_embeddings_come_from_the_endpoint(
    form: dict[str, Any], here: AppWithModel, ai: openai.AsyncOpenAI
) -> None:
    word, before = canary(), here.rows()
    made = await ai.embeddings.create(model="e", input=["a b c", word], user="alice", **form)
    assert made.data[0].embedding == [5.0, 3.0]
    assert made.usage.total_tokens == 4
    (request,) = [r for r in here.endpoint.other_requests if word in str(r.body)]
    assert request.path == PATH
    assert request.body.keys() == {"model", "input", "encoding_format"}
    assert SHOP not in str(request.headers)
    assert here.rows() == before


@shared
async def test_a_transcript_comes_from_the_endpoint(ai: openai.AsyncOpenAI) -> None:
    made = await ai.audio.transcriptions.create(model="whisper-1", file=RECORDING)
    assert made.text == "a.wav the words this recording"


@shared
@pytest.mark.parametrize("status", [400, 404, 422])
async def test_what_the_endpoint_refuses_is_the_request_s_fault(
    status: int, ai: openai.AsyncOpenAI, capfd: pytest.CaptureFixture[str]
) -> None:
    word = canary()
    with pytest.raises(openai.BadRequestError, match=r"did not accept .* \(error ") as caught:
        await ai.embeddings.create(model=f"status-{status}", input=word)
    assert word not in caught.value.message + "".join(capfd.readouterr())


@shared
async def test_what_fails_at_the_endpoint_is_the_server_s_fault(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await ai.embeddings.create(model="status-401", input="a")
    assert caught.value.status_code == 502
    with pytest.raises(openai.InternalServerError):
        await ai.audio.transcriptions.create(model="status-500", file=RECORDING)


@shared
async def test_a_form_is_taken_from_the_holder_of_a_key_alone(here: AppWithModel) -> None:
    for key, path, wanted in (
        ("wrong", "/v1/audio/transcriptions", 415),
        (SHOP, "/v1/embeddings", 415),
        (SHOP, "/v1/audio/transcriptions", 200),
    ):
        form = aiohttp.FormData({"model": "whisper-1"})
        form.add_field("file", RECORDING[1], filename="a.wav", content_type="audio/wav")
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{here.url}{path}", data=form, headers=headers) as answer,
        ):
            assert answer.status == wanted


async def test_limits_hold_for_what_is_passed_on(tmp_path: Path) -> None:
    async with (
        app_with_model(tmp_path, api_keys=KEYS, key_limits="shop=0/0/3") as here,
        connected(here.url) as ai,
    ):
        await ai.embeddings.create(model="e", input="a b c")
        with pytest.raises(openai.RateLimitError, match="today's 3 tokens"):
            await ai.embeddings.create(model="e", input="d")
        with pytest.raises(openai.RateLimitError, match="today's 3 tokens"):
            await ai.audio.transcriptions.create(model="whisper-1", file=RECORDING)


async def test_a_key_that_does_not_reach_the_assistant_passes_nothing_on(tmp_path: Path) -> None:
    agents = tmp_path / "agents.toml"
    agents.write_text('[[agents]]\nid = "support"\nname = "Support"\nprompt = "Help."\n')
    async with (
        app_with_model(
            tmp_path, api_keys=KEYS, key_scopes="shop=v1@support", agents_file=agents
        ) as here,
        connected(here.url) as ai,
    ):
        with pytest.raises(openai.NotFoundError):
            await ai.embeddings.create(model="e", input="a")
        assert here.endpoint.other_requests == []
