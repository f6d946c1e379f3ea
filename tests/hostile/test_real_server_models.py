"""Several endpoints, a fallback and the Responses API, with a real server behind the app."""

from pathlib import Path

import pytest

from tests.harness import canary, served, settings_for
from tests.ports import free_port
from tests.real_server.house import LIMITS, SOME_WORDS
from tests.real_server.llama_server import KEY, started
from tests.real_server.random_model import write_model
from tests.real_server.templates import PLAIN
from tests.rest import KEYS, client
from tests.rows import messages

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_real_server_answers_in_place_of_an_endpoint_that_is_down(
    api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = canary()
    monkeypatch.setenv("REAL_SERVER_KEY", KEY)
    write_model(tmp_path / "random.gguf", PLAIN, SOME_WORDS)
    async with started(tmp_path / "random.gguf", LIMITS) as server:
        tables = f"""
[[models]]
id = "down"
endpoint = "http://127.0.0.1:{free_port()}/v1"
fallback = ["real"]
[[models]]
id = "real"
api = "{api}"
endpoint = "{server.base_url}"
key = "REAL_SERVER_KEY"
"""
        (tmp_path / "agents.toml").write_text(tables, encoding="utf-8")
        settings = settings_for(tmp_path, api_keys=KEYS)
        async with served(settings) as app, client(app.url) as program:
            reply = await program.say(f"Hello {secret}")
            assert reply.status == 200, reply.body
            assert reply.json["response"].strip()
            answer = messages(tmp_path, secret)[-1]
            assert (answer["status"], answer["model_used"]) == ("complete", "real")
            assert answer["content"] == reply.json["response"]
            spent = (answer["input_tokens"], answer["output_tokens"])
            assert spent == await server.counted()
            # A word is a token: text that was taken twice would have more of them.
            assert len(answer["content"].split()) <= spent[1]
