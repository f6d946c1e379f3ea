"""Cases of thoughts, which are shown apart and are never part of the answer."""

from tests.hostile.endpoints.case import Case, chunk, document, ended, said, stream

THOUGHT = "First this, then that."


def _case(name: str, *pieces: bytes | list[bytes], source: str = "") -> Case:
    return Case(name, [stream(*pieces, ended())], "The answer.", thinking=THOUGHT, source=source)


def _parts(*parts: dict[str, object]) -> bytes:
    return chunk({"content": list(parts)})


_detail = {"type": "reasoning.text", "text": THOUGHT, "index": 0}
_json = {"role": "assistant", "content": "The answer.", "reasoning_content": THOUGHT}
TEXT = said("The ", "answer.")
CASES: list[Case] = [
    _case("think-content", chunk({"reasoning_content": "First this, "}),
          chunk({"reasoning_content": "then that."}), TEXT, source="langchain#29513"),
    _case("think-reasoning", chunk({"reasoning": "First this, "}),
          chunk({"reasoning": "then that."}), TEXT, source="koog#2190"),
    _case("think-both", chunk({"reasoning": THOUGHT, "reasoning_content": THOUGHT}), TEXT),
    _case("think-details", chunk({"reasoning_details": [_detail]}), TEXT),
    _case("think-details-too", chunk({"reasoning": THOUGHT, "reasoning_details": [_detail]}), TEXT),
    _case("think-tags", said(f"<think>{THOUGHT}</think>The answer."), source="hermes#12361"),
    _case("think-tags-lines", said(f"<think>\n{THOUGHT}\n</think>\n\nThe answer.")),
    _case("think-tags-split", said("<th", "ink>First this, ", "then that.</", "think", ">The ",
          "answer."), source="continue#3901"),
    _case("think-tags-letters", said(*f"<think>{THOUGHT}</think>The answer.")),
    _case("think-parts", _parts({"type": "thinking", "thinking": [{"type": "text",
          "text": THOUGHT}]}, {"type": "text", "text": "The "}),
          _parts({"type": "text", "text": "answer."}), source="prism#862"),
    Case("think-json", [document({"choices": [{"index": 0, "message": _json,
         "finish_reason": "stop"}]})], "The answer.", thinking=THOUGHT),
    Case("think-talked-of", [stream(said("Write `<think>` and `</think>` around it."), ended())],
         "Write `<think>` and `</think>` around it."),
    _case("think-unopened", said("First this, ", "then that.", "</think>\n\n", "The ",
          "answer."), source="Qwen3"),
]  # fmt: skip
