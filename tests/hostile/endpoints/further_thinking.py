"""Further cases of thoughts in many templates' and gateways' forms."""

from collections.abc import Sequence

from tests.hostile.endpoints.case import (
    CALL,
    Case,
    calling,
    chunk,
    document,
    ended,
    said,
    stream,
    whole,
)

THOUGHT = "First this, then that."
ANSWER = "The answer."


def _thinks(name: str, *pieces: bytes | list[bytes], text: str = ANSWER, thinking: str = THOUGHT,
            source: str = "") -> Case:  # fmt: skip
    return Case(name, [stream(*pieces, ended())], text, thinking=thinking, source=source)


def _plain(name: str, *texts: str) -> Case:
    return Case(name, [stream(said(*texts), ended())], "".join(texts))


def _parts(*parts: object) -> bytes:
    return chunk({"content": list(parts)})


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


FIELDS = [
    _thinks("think2-reasoning-object", chunk({"reasoning": {"content": THOUGHT}}), said(ANSWER)),
    _thinks("think2-thinking-field", chunk({"thinking": THOUGHT}), said(ANSWER)),
    _thinks("think2-reasoning-text", chunk({"reasoning_text": THOUGHT}), said(ANSWER)),
    _thinks("think2-thinking-blocks", chunk({"thinking_blocks": [{"type": "thinking",
            "thinking": THOUGHT, "signature": ""}]}), said(ANSWER), source="litellm"),
    _thinks("think2-provider-fields", chunk({"reasoning_content": THOUGHT, "provider_specific_fields":
            {"reasoning_content": THOUGHT}}), said(ANSWER), source="litellm"),
    _thinks("think2-summary", chunk({"reasoning_details": [{"type": "reasoning.summary",
            "summary": THOUGHT, "index": 0}]}), said(ANSWER)),
    _thinks("think2-with-text-in-one", chunk({"reasoning_content": THOUGHT, "content": ANSWER})),
    _thinks("think2-after-text", said(ANSWER), chunk({"reasoning_content": THOUGHT})),
    _thinks("think2-interleaved", chunk({"reasoning_content": "First this, "}), said("The "),
            chunk({"reasoning_content": "then that."}), said("answer.")),
    _thinks("think2-null-role", chunk({"role": None, "content": None, "reasoning_content": THOUGHT}),
            chunk({"role": None, "content": ANSWER, "reasoning_content": None})),
    _thinks("think2-field-and-close", chunk({"reasoning_content": THOUGHT}), said("</think>\n\n",
            ANSWER), source="vllm qwen3: the closing tag leaks"),
    _thinks("think2-field-and-tags", chunk({"reasoning_content": THOUGHT}),
            said("<think>\n\n</think>\n\n", ANSWER)),
    _thinks("think2-field-and-same-tags", chunk({"reasoning_content": THOUGHT}),
            said(f"<think>{THOUGHT}</think>{ANSWER}"), thinking=THOUGHT + THOUGHT),
    _thinks("think2-whole-message-after", chunk({"reasoning_content": THOUGHT}), said(ANSWER),
            chunk({}, None, object="chat.completion.chunk"), chunk({"reasoning_content": ""})),
    _thinks("think2-redacted", chunk({"reasoning_details": [{"type": "reasoning.encrypted",
            "data": "xx"}], "reasoning": THOUGHT}), said(ANSWER)),
    _thinks("think2-google-tag", chunk({"content": f"<thought>{THOUGHT}</thought>", "extra_content":
            {"google": {"thought": True}}}), said(ANSWER), source="gemini include_thoughts"),
    _thinks("think2-google-flag", chunk({"content": f"<thought>{THOUGHT}", "extra_content":
            {"google": {"thought": True}}}), said(f"</thought>{ANSWER}")),
    Case("think2-json-tags", [document({"choices": [{"index": 0, "finish_reason": "stop", "message":
         {"role": "assistant", "content": f"<think>{THOUGHT}</think>\n\n{ANSWER}"}}]})], ANSWER,
         thinking=THOUGHT),
    Case("think2-json-reasoning", [document({"choices": [{"index": 0, "finish_reason": "stop",
         "message": {"role": "assistant", "content": ANSWER, "reasoning": THOUGHT}}]})], ANSWER,
         thinking=THOUGHT),
    _thinks("think2-surrogates", chunk({"reasoning_content": "First \ud83d"}),
            chunk({"reasoning_content": "\ude00 that."}), said(ANSWER),
            thinking="First \U0001f600 that."),
]  # fmt: skip

TAGS = [
    _thinks("think2-seed", said(f"<seed:think>{THOUGHT}</seed:think>{ANSWER}")),
    _thinks("think2-kimi", said(f"◁think▷{THOUGHT}◁/think▷{ANSWER}")),
    _thinks("think2-magistral", said(f"[THINK]{THOUGHT}[/THINK]{ANSWER}")),
    _thinks("think2-command-a", said(f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>"
            f"<|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>")),
    _thinks("think2-harmony", said("<|channel|>analysis<|message|>", THOUGHT, "<|end|>",
            "<|start|>assistant<|channel|>final<|message|>", ANSWER, "<|return|>")),
    _thinks("think2-reasoning-tag", said(f"<reasoning>\n{THOUGHT}\n</reasoning>\n{ANSWER}")),
    _thinks("think2-blank-before", said("\n\n", f"<think>{THOUGHT}</think>{ANSWER}")),
    _thinks("think2-twice", said("<think>First this, </think>", "<think>then that.</think>", ANSWER)),
    _thinks("think2-second-later", said(f"<think>First this, </think>{ANSWER}\n",
            "<think>then that.</think>"), text=ANSWER + "\n"),
    _thinks("think2-nested", said("<think>First <think>this, then that.</think>", ANSWER),
            thinking="First <think>this, then that."),
    _thinks("think2-spaces-in-close", said(f"<think>{THOUGHT}", " </think>", " ", ANSWER)),
    _thinks("think2-mixed-names", said(f"<thinking>{THOUGHT}</think>{ANSWER}")),
    _thinks("think2-code-inside", said("<think>Use `x` and ```y``` now.</think>", ANSWER),
            thinking="Use `x` and ```y``` now."),
    _thinks("think2-no-newline-answer", said("<think>", THOUGHT, "</think>", ANSWER)),
    _thinks("think2-gemma", said(f"<|channel>thought\n{THOUGHT}<channel|>{ANSWER}"),
            source="gemma 4 template"),
]  # fmt: skip

PLAIN = [
    _plain("plain2-html", "<thead><th>a</th></thead> is HTML, and <thinker> is not."),
    _plain("plain2-math", "a<b, c</d and [T] or [TH"),
    _plain("plain2-fence", "```xml\n<tool_call>{}</tool_call>\n<think>x</think>\n```\nDone."),
    _plain("plain2-quoted", "The tag `</think>` closes what `<think>` opens."),
    _plain("plain2-end-tag-quoted", "It ends with `</think>`"),
    _plain("plain2-ends-open", "Look: <thin"),
    _plain("plain2-middle-open", "In the middle a <think> tag stands alone."),
    _plain("plain2-indent", "    indented code\nand text"),
]

AFTER = [
    Case("think2-call-inside-turn", [stream(said(f"<think>{THOUGHT}</think>"), calling(CALL),
         ended("tool_calls")), whole("It is 42.")], "It is 42.", thinking=THOUGHT,
         tools=[("calculate", True)], requests=2),
    Case("think2-unclosed-then-call", [stream(said(f"<think>{THOUGHT}"), calling(CALL),
         ended("tool_calls")), whole("It is 42.")], "It is 42.", thinking=THOUGHT,
         tools=[("calculate", True)], requests=2),
]  # fmt: skip

CASES: Sequence[Case] = [*FIELDS, *TAGS, *PLAIN, *AFTER]
