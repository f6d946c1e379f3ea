"""``python -m tests.mutants``: remove each owner condition once, and run what tests it.

First the same tests must pass while nothing is removed. Prints a line for each mutant and exits
with 1 where one survived that docs/security.md does not judge, or where a judgement there is of
nothing. ``--only TEXT`` tries those whose name contains it, ``--jobs N`` so many at once,
``--some N`` tries so many that ``--seed N`` chooses, ``--list`` prints the names alone.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.mutants.judged import judged
from tests.mutants.source import Mutant, mutants
from tests.mutants.trials import Trial, arguments_for, laboratory


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--some", type=int, default=0, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    chosen = [mutant for mutant in mutants() if options.only in mutant.name]
    if 0 < options.some < len(chosen):
        chosen = Random(options.seed).sample(chosen, options.some)
    if options.list:
        print(*(mutant.name for mutant in chosen), sep="\n")
        return 0
    stale = judged() - {mutant.name for mutant in mutants()}
    for name in sorted(stale):
        print(f"judged in docs/security.md and not there: {name}")
    if faults := faults_of(chosen):
        print("\nThese tests fail while nothing is removed:", *faults, sep="\n")
        return 1
    trials = run(chosen, options.jobs)
    failed = [t for t in trials if t.verdict != "killed" and t.mutant.name not in judged()]
    for trial in failed:
        print(f"\n{trial.verdict}: {trial.mutant.name}\n{trial.output}")
    killed = sum(trial.verdict == "killed" for trial in trials)
    print(f"\n{killed} of {len(trials)} mutants killed, {len(failed)} survived without a judgement")
    return 1 if failed or stale else 0


def faults_of(chosen: list[Mutant]) -> list[str]:
    """Run what is to kill these mutants on the code as it is; return what fails."""
    with laboratory() as place:
        found = [place.fault(arguments) for arguments in sorted(set(map(arguments_for, chosen)))]
    return [fault for fault in found if fault is not None]


def run(chosen: list[Mutant], jobs: int) -> list[Trial]:
    """Try these mutants, `jobs` at once, each time in a copy of its own."""

    def some(part: list[Mutant]) -> list[Trial]:
        with laboratory() as place:
            trials = []
            for mutant in part:
                trial = place.run(mutant)
                print(f"{trial.verdict:8} {mutant.name}", flush=True)
                trials.append(trial)
            return trials

    with ThreadPoolExecutor(jobs) as pool:
        return [trial for part in pool.map(some, parts(chosen, jobs)) for trial in part]


def parts(chosen: list[Mutant], jobs: int) -> list[list[Mutant]]:
    """Return the mutants in `jobs` lists."""
    return [chosen[start::jobs] for start in range(jobs)]


if __name__ == "__main__":
    sys.exit(main())
