"""LiteLLM at `/v1`, unmodified: whole and streamed answers, tools of the caller's, responses, errors."""

import asyncio
import json
import os
from pathlib import Path

from tests.harness import WAIT
from tests.isolation.world import app_with_model
from tests.rest import KEYS, SHOP

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"
TOOL = 'tool:shout:{"word": "fox"}'


async def test_litellm_reads_answers_calls_and_errors(tmp_path: Path) -> None:
    assert PYTHON.exists(), "run `make programs` first: it installs the clients' environment"
    (tmp_path / "agents.toml").write_text(f"[[models]]\nid = 'tool'\nname = '{TOOL}'\n")
    async with app_with_model(tmp_path, api_keys=KEYS, models="echo") as here:
        program = await asyncio.create_subprocess_exec(
            PYTHON,
            Path(__file__).with_name("calls.py"),
            f"{here.url}/v1",
            SHOP,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "LITELLM_LOCAL_MODEL_COST_MAP": "1",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT * 3):
            out, err = await program.communicate()
    assert program.returncode == 0, err.decode()
    assert json.loads(out.splitlines()[-1]) == {
        "whole": "You said: one",
        "streamed": "You said: one",
        "call": "shout",
        "response": "You said: two",
        "error": "NotFoundError",
    }
