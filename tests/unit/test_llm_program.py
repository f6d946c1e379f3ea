"""The program `llm` at `/v1`, unmodified: an answer, a picture, a tool of the caller's."""

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.doubles.openai_responses import PNG
from tests.harness import WAIT, canary
from tests.isolation.world import AppWithModel, app_with_model
from tests.rest import KEYS, SHOP

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODEL = """- model_id: cmw-{model}
  model_name: '{model}'
  api_base: {url}/v1
  api_key_name: cmw
  vision: true
  supports_tools: true
  can_stream: {streams}
"""
SHOUT = "def shout(word: str) -> str:\n    return word.upper() + '!'\n"
TOOL = 'tool:shout:{"word": "fox"}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AppWithModel]:
    async with app_with_model(
        tmp_path_factory.mktemp("llm"), TOOL, api_keys=KEYS, models="echo"
    ) as made:
        yield made


async def llm(here: AppWithModel, folder: Path, *arguments: str, streams: bool = True) -> str:
    """Run `llm` with a folder of its own and return what it prints."""
    models = (
        MODEL.format(model=m, url=here.url, streams=str(streams).lower())
        for m in ("echo", "assistant")
    )
    (folder / "extra-openai-models.yaml").write_text("".join(models), encoding="utf-8")
    (folder / "keys.json").write_text(json.dumps({"cmw": SHOP}), encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LLM_USER_PATH": str(folder),
        "LLM_LOAD_PLUGINS": "",
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "llm", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    async with asyncio.timeout(WAIT):
        output, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    return output.decode().strip()


@pytest.mark.parametrize("streams", [True, False])
async def test_a_question_with_a_picture_is_answered(
    streams: bool, here: AppWithModel, tmp_path: Path
) -> None:
    word, picture = canary(), tmp_path / "a.png"
    picture.write_bytes(base64.b64decode(PNG))
    options = ("-o", "temperature", "0.5", "-s", "Be brief.", "-a", str(picture))
    answer = await llm(here, tmp_path, "-m", "cmw-echo", *options, word, streams=streams)
    assert answer == f"You said: {word}"
    (request,) = here.endpoint.matching(word)
    assert request.body["temperature"] == 0.5
    assert request.messages[0]["content"].endswith("Be brief.")
    kinds = [part["type"] for part in request.messages[-1]["content"]]
    assert sorted(kinds) == ["image_url", "text"]


async def test_its_own_tool_is_called(here: AppWithModel, tmp_path: Path) -> None:
    asked = ("-m", "cmw-assistant", "--functions", SHOUT, "Shout.")
    assert await llm(here, tmp_path, *asked) == "The tools said: FOX!"
