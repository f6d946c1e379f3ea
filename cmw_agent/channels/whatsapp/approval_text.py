"""The text of an approval prompt: the whole call, exactly, or none.

Each argument is one line of JSON (RFC 8259) in a block of code. What does not print, line ends and
signs that turn a text's direction among it, and the sign that would end the block, are written as
escapes. So no name and no value can look like a line of the question, and nothing is hidden.
"""

import json
import re
from collections.abc import Iterator

from cmw_agent.channels.whatsapp.formatting import FENCE
from cmw_agent.language import Language
from cmw_agent.tools.approvals import PendingApproval, question_of

MAX_SHOWN = 12_000  # characters of a call
NAME_CHARS = 200
PART_CHARS = 3_600  # of a call, in one message: it leaves room for the words around them
ESCAPED = re.compile(r"\\u[0-9a-f]{4}|\\.|[^\\]", re.DOTALL)  # what is not to be cut


class ApprovalNotShowableError(Exception):
    """A call cannot be shown as a whole, so that nobody can approve it."""


def question(approval: PendingApproval, language: Language, code: str = "") -> list[str]:
    """Return the messages that ask the owner about a call.

    Args:
        approval: The call.
        language: The language to ask in; the answer is understood in each.
        code: What the answer must name beside yes or no; none where it is empty.

    Raises:
        Unshowable: It is too long, or cannot be written down.
    """
    try:
        if len(approval.name) > NAME_CHARS or len(_json(dict(approval.arguments))) > 2 * MAX_SHOWN:
            raise ApprovalNotShowableError  # before the work of writing it sign by sign
        name = _written(approval.name)[1:-1]
        lines = [f"{_written(key)}: {_written(value)}" for key, value in approval.arguments.items()]
    except (ValueError, TypeError, RecursionError):
        raise ApprovalNotShowableError from None
    if len(name) > NAME_CHARS or sum(len(line) + 1 for line in lines) > MAX_SHOWN:
        raise ApprovalNotShowableError
    if (stored := question_of(approval)) is not None:
        return [_question_text(stored, language, code)]
    code_suffix = f" {code}" if code else ""
    yes, no = (
        f"*{word}{code_suffix}*" for word in (language.gettext("yes"), language.gettext("no"))
    )
    reply = language.gettext("Reply {yes} or {no}.", yes=yes, no=no)
    end = f"\n\n{reply}"
    if approval.account is not None:
        account = f"`{_written(approval.account)[1:-1]}`"
        used = language.gettext("It would use the account {account}.", account=account)
        end = f"\n{used}{end}"
    blocks = list(_blocks(lines))
    if not blocks:
        return [language.gettext("I would like to run {name}.", name=f"`{name}`") + end]
    count = len(blocks)
    parts = []
    for number, block in enumerate(blocks, 1):
        position = ""
        if count > 1:
            position = language.gettext(" ({number} of {count})", number=number, count=count)
        intro = language.gettext(
            "I would like to run {name} with{position}:", name=f"`{name}`", position=position
        )
        parts.append(f"{intro}\n{FENCE}\n{block}\n{FENCE}")
    parts[-1] += end
    return parts


def _question_text(text: str, language: Language, code: str) -> str:
    """Return the message with an agent's question, and how to answer it."""
    reply = language.gettext("Reply with your answer.")
    if code:
        reply = language.gettext("Reply with {code} and your answer.", code=f"*{code}*")
    return f"{text}\n\n{reply}"


def _blocks(lines: list[str]) -> Iterator[str]:
    """Yield the lines in blocks; a line that is longer than one is cut between its signs."""
    block = ""
    for line in lines:
        for piece in _pieces(line):
            joined = f"{block}\n{piece}" if block else piece
            if len(joined) > PART_CHARS:
                yield block
                joined = piece
            block = joined
    if block:
        yield block


def _pieces(line: str) -> Iterator[str]:
    if len(line) <= PART_CHARS:
        yield line
        return
    start = end = 0
    for sign in ESCAPED.finditer(line):
        if sign.end() - start > PART_CHARS:
            yield line[start:end]
            start = end
        end = sign.end()
    yield line[start:]


def _written(value: object) -> str:
    return "".join(sign if _is_plain(sign) else _escape(sign) for sign in _json(value))


def _json(value: object) -> str:
    # not orjson: it takes no integers beyond 64 bits
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_plain(sign: str) -> bool:
    return sign.isprintable() and sign != FENCE[0]


def _escape(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if sign == FENCE[0] else json.dumps(sign)[1:-1]
