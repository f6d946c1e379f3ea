"""What came of a replay, as text, as JSON Lines and as one page of HTML."""

import json
import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from cmw_agent.core.errors import StartupError
from cmw_agent.proof.replay.differences import Difference, unified
from cmw_agent.proof.replay.runner import Replayed

TEMPLATE = Path(__file__).parent / "templates" / "replay.html"
WIDTH = 56  # characters of one column
MAX_LINES = 40  # of an answer in a terminal


def same_lines(results: Sequence[Replayed], times: int) -> list[str]:
    """Return a line for each turn, and its first difference.

    Args:
        results: What came of the turns, each `times` times.
        times: How often they were replayed.
    """
    lines = []
    by_name: dict[str, list[Replayed]] = {}
    for each in results:
        by_name.setdefault(each.cassette.name, []).append(each)
    for name, runs in by_name.items():
        same = sum(each.is_same for each in runs)
        share = "same as recorded" if times == 1 and same else f"same as recorded {same} of {times}"
        lines.append(f"{name}: {share}, {runs[0].requests} requests")
        first = next((each for each in runs if not each.is_same), None)
        if first is not None:
            lines += [_shown(first.differences[0])]
        if runs[0].cassette.left_out:
            cut = runs[0].cassette.left_out
            lines.append(f"  compared as far as it goes: {cut} records had no room in it")
    return lines


def changed_lines(results: Sequence[Replayed], change: str) -> list[str]:
    """Return recorded and new answers side by side, with their figures."""
    lines = [f"changed: {change}"]
    for each in results:
        lines += [
            f"{each.cassette.name}: {_line(each.cassette.question)}",
            _columns("recorded", "changed"),
            _columns(*(_figures(*figures) for figures in _both(each))),
        ]
        new = each.text if each.error is None else f"{each.text}\n[{each.error}]"
        pairs = list(zip_longest(_wrapped(recorded_text(each)), _wrapped(new), fillvalue=""))
        lines += [_columns(*pair) for pair in pairs[:MAX_LINES]]
        if len(pairs) > MAX_LINES:
            lines.append(f"… and {len(pairs) - MAX_LINES} more lines")
    return lines


def write_reports(
    results: Sequence[Replayed], faults: Sequence[str], change: str, folder: Path
) -> Path:
    """Write ``replay.jsonl`` and ``replay.html`` into a folder, for its owner's account alone.

    Args:
        results: What came of the turns.
        faults: What is wrong with cassettes that were not replayed.
        change: What was changed; empty for nothing.
        folder: Is made where it is not there.

    Returns:
        The page's path.

    Raises:
        StartupError: They cannot be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    pairs = [
        {
            "result": each,
            "recorded": recorded_text(each),
            "figures": [_figures(*figures) for figures in _both(each)],
            "diff": unified(recorded_text(each), each.text),
        }
        for each in results
    ]
    page = template.render(pairs=pairs, faults=faults, change=change)
    records = [json.dumps(_record(each, change), ensure_ascii=False) for each in results]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(folder / "replay.jsonl", "".join(f"{record}\n" for record in records))
        _write(folder / "replay.html", page)
    except OSError as error:
        raise StartupError(
            f"the report cannot be written to {folder} ({error.strerror})"
        ) from error
    return folder / "replay.html"


def recorded_text(result: Replayed) -> str:
    """Return the recorded answer."""
    text: str = result.cassette.answer["text"]
    return text


def _record(result: Replayed, change: str) -> dict[str, object]:
    return {
        "cassette": str(result.cassette.path),
        "changed": change,
        "same": result.is_same,
        "recorded": recorded_text(result),
        "text": result.text,
        "error": result.error,
        "seconds": round(result.seconds, 3),
        "tokens": result.tokens,
        "differences": [asdict(each) for each in result.differences],
    }


def _both(result: Replayed) -> list[tuple[float, int | None]]:
    """Return seconds and tokens of the recording and of the replay."""
    answer, given = result.cassette.answer, result.cassette.given
    counts = [answer["input_tokens"], answer["output_tokens"]]
    tokens = None if None in counts else sum(counts)
    return [(answer["seconds"] - given["seconds"], tokens), (result.seconds, result.tokens)]


def _figures(seconds: float, tokens: int | None) -> str:
    return f"{seconds:.2f} s, {'?' if tokens is None else f'{tokens:,}'} tokens"


def _shown(difference: Difference) -> str:
    body = f"\n{difference.diff}" if difference.diff else ""
    return textwrap.indent(f"differs: {difference.subject}{body}", "  ")


def _wrapped(text: str) -> list[str]:
    lines = (textwrap.wrap(line, WIDTH) or [""] for line in text.splitlines())
    return [part for line in lines for part in line]


def _columns(left: str, right: str) -> str:
    return f"  {left.ljust(WIDTH)} | {right}".rstrip()


def _line(text: str) -> str:
    return textwrap.shorten(text, 100, placeholder="…")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
