"""Whether a file of receipts holds: each hash is that of its content, and each follows the one before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmw_agent.core.errors import StartupError
from memory.receipts import broken

MAX_BYTES = 100_000_000
MAX_SHOWN = 20  # faults


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of reading a file of receipts.

    Attributes:
        count: How many receipts it has.
        last: The hash of the last one, which stands for all; empty where there is none.
        faults: What is wrong, a sentence each.
    """

    count: int
    last: str
    faults: tuple[str, ...]

    @property
    def code(self) -> int:
        """The exit code: 0 where all hold, 1 otherwise."""
        return 1 if self.faults else 0

    @property
    def text(self) -> str:
        """The result for people."""
        if not self.faults:
            return f"{self.count} receipts hold; the last one is {self.last or 'none'}"
        shown = [*self.faults[:MAX_SHOWN]]
        more = len(self.faults) - len(shown)
        return "\n".join([*shown, *([f"… and {more} more"] if more else [])])


def verify(path: Path) -> Verified:
    """Read a file of receipts, one JSON object on a line.

    Args:
        path: As ``history/export?format=receipts`` has given it.

    Raises:
        StartupError: It cannot be read, or is no such file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StartupError(f"{path} has more than {MAX_BYTES:,} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path} cannot be read ({type(error).__name__})") from error
    receipts = [_receipt(path, number, line) for number, line in enumerate(lines, 1) if line]
    last = str(receipts[-1].get("hash", "")) if receipts else ""
    return Verified(len(receipts), last, tuple(broken(receipts)))


def _receipt(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StartupError(
            f"{path}, line {number}: no JSON; the file is cut or no list of receipts"
        ) from error
    if not isinstance(value, dict) or value.get("version") != 1:
        raise StartupError(f"{path}, line {number}: no receipt of version 1")
    return value
