"""``python -m benchmarks``: compares the app with a naive Gradio chat and a raw proxy.

The server has one core and the clients another; all use the same endpoint double and the page's own
protocol. Every answer is checked for completeness and for other users' canaries. Prints a table and
writes the figures as JSON; exits with 1 when an answer was wrong.
"""

import argparse
import dataclasses
import gc
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.processes import CLIENT_CORE, ROOT
from benchmarks.scenarios import (
    Lengths,
    Load,
    Result,
    alone,
    idle_memory,
    long_conversations,
    run,
    slow_readers,
    starts,
    thoughts,
)

STEADY_50 = Load("50 users, 40 tokens/s", 50, 200, 40)
STEADY_200 = Load("200 users, 40 tokens/s", 200, 200, 40)
FULL_SPEED = Load("50 users, full speed", 50, 500, 0, arrival=0)
MANY = Load("500 users, 20 tokens/s", 500, 200, 20, arrival=5)
CONTENDERS: dict[Load, tuple[str, ...]] = {
    STEADY_50: ("app", "naive", "floor"),
    STEADY_200: ("app", "naive", "floor"),
    FULL_SPEED: ("app", "naive", "floor"),
    MANY: ("app", "floor"),
}
OUT = ROOT / "artifacts" / "benchmark.json"
HEAD = (
    "load",
    "who",
    "first p50",
    "first p95",
    "done p50",
    "done/ideal",
    "tokens/s",
    "CPU-s/1,000",
    "longest gap",
    "wrong",
)


def row(result: Result, ideal: float) -> tuple[str, ...]:
    """Return a result as a row of the table; times in seconds."""
    wrong = result.errors + result.broken + result.foreign
    return (
        result.load,
        result.contender,
        f"{result.first_p50:.3f}",
        f"{result.first_p95:.3f}",
        f"{result.done_p50:.2f}",
        f"{result.done_p50 / ideal:.3f}" if ideal else "–",
        f"{result.tokens_per_second:,.0f}",
        f"{result.cpu_per_1000:.3f}",
        f"{result.longest_gap:.2f}",
        str(wrong),
    )


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows as a Markdown table."""
    lines = [HEAD, tuple("---" for _ in HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratios_of(results: dict[tuple[str, str], Result]) -> dict[str, float]:
    """Return ratios between the app's figures and those of the naive app and of the raw proxy."""
    ratios: dict[str, float] = {}
    for load in CONTENDERS:
        app, naive = results.get((load.name, "app")), results.get((load.name, "naive"))
        floor = results.get((load.name, "floor"))
        if app is not None and naive is not None:
            ratios[f"{load.name}: CPU per token, naive / app"] = (
                naive.cpu_per_1000 / app.cpu_per_1000
            )
            ratios[f"{load.name}: tokens/s, app / naive"] = (
                app.tokens_per_second / naive.tokens_per_second
            )
        if app is not None and floor is not None and floor.cpu_per_1000:
            ratios[f"{load.name}: CPU per token, app / floor"] = (
                app.cpu_per_1000 / floor.cpu_per_1000
            )
    return ratios


async def measure(names: set[str], *, short: bool) -> dict[str, Any]:
    """Run all benchmarks of the contenders `names`, with `short` only the loads; return the figures."""
    results: dict[tuple[str, str], Result] = {}
    rows = []
    for load, contenders in CONTENDERS.items():
        for name in (name for name in contenders if name in names):
            results[load.name, name] = await run(name, load)
            rows.append(row(results[load.name, name], load.ideal))
            print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    figures: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, Python {platform.python_version()}",
        "results": [dataclasses.asdict(result) for result in results.values()],
        "ratios": ratios_of(results),
    }
    print(table(rows), "", sep="\n")
    if not short:
        figures["alone"] = {"app": await alone("app"), "floor": await alone("floor")}
        figures["memory"] = await idle_memory(2_000)
        figures["slow readers"] = await slow_readers(STEADY_50, 10)
        figures["conversation"] = dataclasses.asdict(await long_conversations())
    return figures


def report(figures: dict[str, Any]) -> None:
    """Print the figures that are not in the table."""
    for name, ratio in figures["ratios"].items():
        print(f"{name}: {ratio:.1f}")
    if "alone" in figures:
        app, floor = figures["alone"]["app"] * 1000, figures["alone"]["floor"] * 1000
        print(f"one user alone: first token after {app:.0f} ms, the floor's after {floor:.0f} ms")
        memory = figures["memory"]
        print(
            f"memory: {memory['kb_per_session']:.0f} kB per further session of "
            f"{memory['sessions']} at once; base {memory['base_mb']:.0f} MB, "
            f"{memory['churned_mb']:.0f} MB after as many came and went, "
            f"{memory['after_mb']:.0f} MB after those that were there at once have gone"
        )
        slow = figures["slow readers"]
        print(
            f"50 users beside 10 that do not read: first p95 {slow['first_p95_with']:.3f} s "
            f"({slow['first_p95_without']:.3f} s without them), done p95 "
            f"{slow['done_p95_with']:.2f} s ({slow['done_p95_without']:.2f} s)"
        )
        report_lengths(Lengths(**figures["conversation"]))


def report_lengths(costs: Lengths) -> None:
    """Print the CPU of conversations of each length, and of turns after them."""
    for name, lengths in (("a conversation", costs.whole), ("turns after one", costs.further)):
        for messages, figures in lengths.items():
            print(
                f"{name} of {messages} messages: {statistics.mean(figures):.4f} "
                f"CPU-s per 1,000 tokens {_spread(figures)}"
            )
    short, long = costs.further.values()
    differences = [after - before for before, after in zip(short, long, strict=True)]
    percent = [100 * difference / statistics.mean(short) for difference in differences]
    print(f"turns after the longer one: {statistics.mean(percent):+.1f} % {_spread(percent)}")


def report_starts(rounds: list[float]) -> None:
    """Print the CPU of a short turn, from the rounds' milliseconds."""
    print(f"a turn of 5 tokens: {statistics.mean(rounds):.2f} ms of CPU {_spread(rounds)}")


def report_thoughts(costs: dict[str, list[float]]) -> None:
    """Print the CPU of text and of thoughts."""
    for kind, rounds in costs.items():
        print(f"{kind}: {statistics.mean(rounds):.4f} CPU-s per 1,000 {_spread(rounds)}")
    text, thinking = costs.values()
    print(f"thoughts / text: {statistics.mean(thinking) / statistics.mean(text):.2f}")


def _spread(rounds: list[float]) -> str:
    error = statistics.stdev(rounds) / len(rounds) ** 0.5
    return f"(standard error {error:.2g}, {len(rounds)} measurements)"


def main() -> int:
    """Measure, print, write JSON; return 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", help="contenders, comma-separated: app, naive, floor")
    parser.add_argument("--short", action="store_true", help="the streams alone")
    parser.add_argument("--lengths", action="store_true", help="long and short conversations alone")
    parser.add_argument("--window", type=int, help="tokens that the model sees, with --lengths")
    parser.add_argument("--starts", action="store_true", help="what short turns cost alone")
    parser.add_argument("--thoughts", action="store_true", help="thoughts beside text alone")
    arguments = parser.parse_args()
    names = set((arguments.only or "app,naive,floor").split(","))
    os.sched_setaffinity(0, {CLIENT_CORE})
    gc.disable()  # pauses of the clients would be measured as the server's
    if arguments.lengths:
        report_lengths(uvloop.run(long_conversations(arguments.window)))
        return 0
    if arguments.starts:
        report_starts(uvloop.run(starts()))
        return 0
    if arguments.thoughts:
        report_thoughts(uvloop.run(thoughts()))
        return 0
    figures = uvloop.run(measure(names, short=arguments.short))
    report(figures)
    OUT.parent.mkdir(exist_ok=True)
    Path(OUT).write_text(json.dumps(figures, indent=1))
    wrong = sum(r["errors"] + r["broken"] + r["foreign"] for r in figures["results"])
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
