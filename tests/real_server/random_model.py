"""Writes tiny language models of random weights as GGUF files, which llama.cpp serves.

A model has two layers and some 400 tokens, and answers with random words. Some dimensions of its
embedding are not random, and no layer writes to them: the first has the same value for every token,
so that the output's weights in it are the tokens' odds. Each other one belongs to a tag that a chat
template may put at the end of the prompt: it decides the answer's first token.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "green",
    "small",
    "table",
    "window",
    "morning",
    "garden",
]
WORDS += ["paper", "bridge", "silver", "quiet", "happy", "letter", "music", "winter", "orange"]
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
CALL, THOUGHT_OVER = "<tool_call>", "</think>"
# Tags for the end of a prompt, and what each does to the odds of an answer's first token.
TEXT_FIRST, CALL_FIRST, NOTHING = "<|text|>", "<|call|>", "<|nothing|>"
TAGS: dict[str, dict[str, float]] = {
    TEXT_FIRST: {END: -99, THOUGHT_OVER: -99},
    CALL_FIRST: {CALL: 99},
    NOTHING: {END: 99},
}
CONTROL = (UNKNOWN, BEGIN, END, *TAGS)
MARKUP = (CALL, THOUGHT_OVER)
BYTES = [f"<0x{number:02X}>" for number in range(256)]
TOKENS = [*CONTROL, *BYTES, *MARKUP, *WORDS]
QUOTE = BYTES[ord('"')]  # ends a string in a call's arguments

WIDTH, INNER, LAYERS, HEADS = 64, 128, 2, 4
CONTEXT = 131_072  # tokens; the server's own limit is below
FIXED = 1 + len(TAGS)
STRENGTH = 8.0  # of a fixed dimension; the random ones are near 0.2
NEVER = -40.0
Array = NDArray[np.float32]


def write_model(path: Path, template: str, odds: Mapping[str, float], seed: int = 16) -> None:
    """Write a model.

    Args:
        path: The new file.
        template: The chat template, in Jinja.
        odds: How likely tokens are; a word's odds are 1, those of what is not named are 0.
        seed: The random weights' seed.
    """
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer)
    _add_vocabulary(writer)
    writer.add_chat_template(template)
    for name, values in _weights(odds, np.random.default_rng(seed)).items():
        writer.add_tensor(f"{name}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))


def _add_vocabulary(writer: gguf.GGUFWriter) -> None:
    kinds = dict.fromkeys(CONTROL, gguf.TokenType.CONTROL)
    kinds |= dict.fromkeys(BYTES, gguf.TokenType.BYTE)
    kinds |= dict.fromkeys(MARKUP, gguf.TokenType.USER_DEFINED)
    kinds[UNKNOWN] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"▁{token}" if token in WORDS else token for token in TOKENS])
    writer.add_token_types([kinds.get(token, gguf.TokenType.NORMAL) for token in TOKENS])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_unk_token_id(TOKENS.index(UNKNOWN))
    writer.add_bos_token_id(TOKENS.index(BEGIN))
    writer.add_eos_token_id(TOKENS.index(END))
    writer.add_add_space_prefix(False)  # a grammar begins where the prompt ends


def _weights(odds: Mapping[str, float], random: np.random.Generator) -> dict[str, Array]:
    def matrix(rows: int, columns: int, spread: float = 0.04) -> Array:
        return (random.standard_normal((rows, columns)) * spread).astype(np.float32)

    embedding, output = matrix(len(TOKENS), WIDTH, 0.2), matrix(len(TOKENS), WIDTH, 0.2)
    embedding[:, 0] = STRENGTH
    embedding[:, 1:FIXED] = 0
    output[:, :FIXED] = 0
    # The last layer divides by the root of the mean square.
    scale = STRENGTH / math.sqrt((STRENGTH**2 + WIDTH * 0.04) / WIDTH)
    all_odds = dict.fromkeys(TOKENS, 0.0) | dict.fromkeys(WORDS, 1.0) | dict(odds)
    for row, token in enumerate(TOKENS):
        output[row, 0] = (math.log(all_odds[token]) if all_odds[token] else NEVER) / scale
    for dimension, (tag, changes) in enumerate(TAGS.items(), 1):
        embedding[TOKENS.index(tag), dimension] = STRENGTH
        for token, change in changes.items():
            output[TOKENS.index(token), dimension] = change / scale
    ones = np.ones(WIDTH, np.float32)
    weights = {"token_embd": embedding, "output": output, "output_norm": ones}
    for layer in range(LAYERS):
        weights |= {f"blk.{layer}.{name}_norm": ones for name in ("attn", "ffn")}
        blocks = {
            name: matrix(WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        }
        blocks |= {name: matrix(INNER, WIDTH) for name in ("ffn_gate", "ffn_up")}
        blocks["ffn_down"] = matrix(WIDTH, INNER)
        for name in ("attn_output", "ffn_down"):
            blocks[name][:FIXED] = 0
        weights |= {f"blk.{layer}.{name}": values for name, values in blocks.items()}
    return weights
