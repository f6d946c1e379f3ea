"""Messages of LangChain models that are not the app's own."""

import pytest
from langchain_core.messages import AIMessageChunk

from cmw_agent.llm.langchain_stream import LangChainAccumulator
from cmw_agent.llm.run_events import RunEvents


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_the_first_bad_reason_of_an_answer_s_end_stays(reason: str) -> None:
    accumulator = LangChainAccumulator(RunEvents(lambda _: None), ())
    for text, word in (("Half", None), ("", "stop"), ("", reason), ("", "stop")):
        metadata = {"finish_reason": word} if word else {}
        accumulator.add(AIMessageChunk(content=text, response_metadata=metadata))
    accumulator.finish()
    assert accumulator.message().response_metadata["finish_reason"] == reason
