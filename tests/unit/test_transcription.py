"""Voice messages are transcribed by the endpoint."""

from pathlib import Path

import pytest

from cmw_agent.core.errors import InvalidMessageError, ModelFailedError
from cmw_agent.llm.transcription import NO_MODEL, Transcription
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import settings_for

WAVE = b"RIFF\x10\0\0\0WAVEhello there"


def asking(endpoint: OpenAIDouble, folder: Path, model: str) -> Transcription:
    return Transcription(
        settings_for(
            folder,
            openai_base_url=endpoint.base_url,
            openai_api_key="sk-test",
            transcription_model=model,
        )
    )


async def test_what_is_said_comes_back_as_text(tmp_path: Path) -> None:
    path = tmp_path / "private name.wav"
    path.write_bytes(WAVE)
    async with OpenAIDouble() as endpoint:
        asked = asking(endpoint, tmp_path, "whisper-1")
        for _ in range(2):
            assert await asked.text(path, "audio/wav") == "recording.wav hello there"
        assert [r.cookie for r in endpoint.other_requests] == [None, None]
        assert {r.authorization for r in endpoint.other_requests} == {"Bearer sk-test"}


@pytest.mark.parametrize(
    ("model", "kind", "tries"),
    [
        ("status-503", "server_error", 3),
        ("status-404", "no_such_model", 1),
        ("status-401", "unauthorised", 1),
        ("no-text", "not_a_stream", 1),
    ],
)
async def test_a_failure_is_told_after_as_many_tries_as_help(
    tmp_path: Path, model: str, kind: str, tries: int
) -> None:
    (tmp_path / "a").write_bytes(WAVE)
    async with OpenAIDouble() as endpoint:
        with pytest.raises(ModelFailedError) as told:
            await asking(endpoint, tmp_path, model).text(tmp_path / "a", "audio/wav")
        assert told.value.kind == kind
        assert len(endpoint.other_requests) == tries


async def test_the_demo_model_hears_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidMessageError, match=NO_MODEL):
        await Transcription(settings_for(tmp_path)).text(tmp_path / "a", "audio/wav")
