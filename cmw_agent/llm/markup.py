"""The markup that models and their templates leave in an answer's text: thoughts, calls, pictures."""

import re
from collections.abc import Iterable
from types import MappingProxyType

# The opening tag of thoughts -> the tags that close them.
THOUGHTS = MappingProxyType(
    {
        "<think>": ("</think>", "</thinking>"),
        "<thinking>": ("</think>", "</thinking>"),
        "<thought>": ("</thought>", "</thoughts>"),
        "<reasoning>": ("</reasoning>",),
        "<seed:think>": ("</seed:think>",),
        "◁think▷": ("◁/think▷",),
        "[THINK]": ("[/THINK]",),
        "<|START_THINKING|>": ("<|END_THINKING|>",),
        "<|channel>thought": ("<channel|>",),
        "<|channel|>analysis<|message|>": (
            "<|end|>",
            "<|start|>assistant<|channel|>final<|message|>",
        ),
    }
)
# Those that may close thoughts which no tag has opened: the template had done so.
UNOPENED = ("</think>", "</thinking>", "</seed:think>", "◁/think▷", "[/THINK]")
# The opening tag of a call that is written as text -> its end; empty for the end of the message.
CALLS = MappingProxyType(
    {
        "<tool_call>": "</tool_call>",
        "<tool_calls>": "</tool_calls>",
        "<function=": "</function>",
        "<function_call>": "</function_call>",
        "<function_calls>": "</function_calls>",
        "<minimax:tool_call>": "</minimax:tool_call>",
        "<|channel|>commentary": "<|call|>",
        "<|tool_call_start|>": "<|tool_call_end|>",
        "<|tool_calls_section_begin|>": "<|tool_calls_section_end|>",
        "<｜tool▁calls▁begin｜>": "<｜tool▁calls▁end｜>",
        "<｜DSML｜function_calls>": "</｜DSML｜function_calls>",
        "[TOOL_CALLS]": "",
        "<|python_tag|>": "",
        "<|tool_call|>": "",
        "<|tool_call>": "<tool_call|>",
    }
)
# Signs of a template that stand around the answer.
AROUND = (
    "<|start|>assistant",
    "<|channel|>final<|message|>",
    "<|end|>",
    "<|return|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "</tool_call>",
    "</tool_calls>",
    "</function_calls>",
)
ALT = r"[^\]\[\n`<~◁]"  # what no other token begins with
MAX_ALT = 300  # characters of a picture's description
MAX_PICTURE_HEAD = 100  # characters from `data:` to the picture's data
PICTURE = (
    rf"!\[{ALT}{{0,{MAX_ALT}}}\]\(\s?data:(?P<media>image/[A-Za-z0-9.+-]{{1,40}})"
    r"(?:;[A-Za-z0-9=-]{1,20}){0,2};base64,"
)
MAX_TICKS = 100  # of one fence
PART_OF_PICTURE = re.compile(
    rf"!(?:\[{ALT}{{0,{MAX_ALT}}}(?:\](?:\(\s?(?P<rest>[^)\s]{{0,{MAX_PICTURE_HEAD}}}))?)?)?\Z"
)
PICTURE_ENDS = re.compile(r"[^A-Za-z0-9+/=_%\s-]|\n[ \t\r]{0,9}\n")  # of its data
MAX_TITLE = 200  # characters of a title after the data, with its marks
PICTURE_TITLE = re.compile(r"""(?:"[^"\n]{0,190}"\s?)?\)""")
PICTURE_START = "data:image/"


def any_of(tokens: Iterable[str]) -> str:
    """Return a regular expression of `tokens`, in upper or lower case."""
    return "|".join("".join(map(_any_case, token)) for token in tokens)


def _any_case(character: str) -> str:
    # Not re.IGNORECASE, with which the search cannot look for first characters.
    if character.isascii() and character.isalpha():
        return f"[{character.lower()}{character.upper()}]"
    return re.escape(character)


ATTRIBUTES = r"\s[A-Za-z][\w:.-]{0,11}=[^<>\n]{0,23}"  # of an opening tag of thoughts
HEADS = ("<think", "<thinking", "<thought", "<reasoning")  # of the tags that may have some
OPENING = rf"{any_of(THOUGHTS)}|(?:{any_of(HEADS)}){ATTRIBUTES}>"
PART_OF_OPENING = re.compile(
    rf"(?:{any_of(HEADS)})\s(?:[A-Za-z][\w:.-]{{0,11}}(?:=[^<>\n]{{0,23}})?)?\Z"
)
# What the scanner looks for in an answer's text. Most of what begins like a tag is HTML, which two
# or three characters tell apart.
MAYBE_TAG = r"(?=</?[tTrRsSfFmM|｜]|\[/?[tT]|◁|!\[)"
IN_TEXT = re.compile(
    rf"(?P<ticks>`{{1,{MAX_TICKS}}}|~{{1,{MAX_TICKS}}})|{MAYBE_TAG}(?:(?P<open>{OPENING})"
    rf"|(?P<close>{any_of(UNOPENED)})|(?P<call>{any_of(CALLS)})|(?P<around>{any_of(AROUND)})"
    rf"|(?P<picture>{PICTURE}))"
)
CLOSES = MappingProxyType({name: re.compile(any_of(ends)) for name, ends in THOUGHTS.items()})
CLOSES_UNOPENED = re.compile(any_of(UNOPENED))
OPENS = re.compile(OPENING)
CALL_ENDS = MappingProxyType(
    {name: re.compile(any_of([end])) for name, end in CALLS.items() if end}
)
FIRST = re.compile(r"[<\[◁]")
TOKENS = tuple(
    token.lower()
    for token in (*THOUGHTS, *(end for ends in THOUGHTS.values() for end in ends), *CALLS, *AROUND)
)
LONGEST = 48  # characters: no token is longer
BEGINNINGS = frozenset(token[:end] for token in TOKENS for end in range(1, len(token)))
PICTURE_WINDOW = MAX_ALT + MAX_PICTURE_HEAD + 8


def hold_from(text: str, start: int) -> int:
    """Return the position in `text` from which on a token may have begun; its length otherwise.

    Args:
        text: Text at whose end more is to come.
        start: The first position that counts.
    """
    hold = len(text)
    for sign in FIRST.finditer(text, max(start, len(text) - LONGEST)):
        rest = text[sign.start() :].lower()
        if rest in BEGINNINGS or PART_OF_OPENING.match(rest):
            hold = sign.start()
            break
    return min(hold, _hold_picture(text, max(start, len(text) - PICTURE_WINDOW)))


def _hold_picture(text: str, start: int) -> int:
    sign = text.rfind("![", start)
    part = PART_OF_PICTURE.match(text, sign) if sign >= 0 else None
    if part is None:
        return len(text) - text.endswith("!", start)
    rest = (part["rest"] or "").lower()
    begins = rest.startswith(PICTURE_START) or PICTURE_START.startswith(rest)
    return sign if begins else len(text) - text.endswith("!", start)
