"""What a certificate stands on: the tests of isolation, the mutants and a storm, each run anew."""

import asyncio
import contextlib
import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
from dotenv import dotenv_values

from cmw_agent.core.certificates import Checks, Storm
from cmw_agent.core.errors import StartupError
from cmw_agent.proof.storm.run import Bounds, run
from cmw_agent.proof.storm.targets import Target
from cmw_agent.proof.storm.visitors import Plan, Progress

INVARIANTS = "tests/isolation"
TEST_SECONDS, MUTANT_SECONDS, START_SECONDS = 3_600.0, 6 * 3_600.0, 60.0
NOT_PASSED = ("failure", "error", "skipped")
_SURVIVED = re.compile(r"^survived: .+", re.MULTILINE)
_KILLED = re.compile(r"^(\d+) of (\d+) mutants killed, (\d+) survived", re.MULTILINE)
# What the app under storm must not have of the deployment: data, models, other services, keys.
DROPPED = (
    *("CMW_DATABASE_URL", "CMW_REDIS_URL", "CMW_AGENTS_FILE", "CMW_CERTIFICATE"),
    *("CMW_MODEL", "COMPOSIO_API_KEY"),
)
DROPPED_BEGINNINGS = ("OPENAI_", "OPENID_", "OAUTH_", "CMW_WHATSAPP_", "OTEL_")


def checkout() -> Path:
    """Return the folder of the source code, which has the tests.

    Raises:
        StartupError: The app is installed without them.
    """
    folder = Path(__file__).parents[2]
    if not (folder / INVARIANTS).is_dir():
        raise StartupError(
            "the tests are not here: run this in a checkout of the source code, with the packages "
            "of requirements-dev.txt"
        )
    return folder


async def invariants(folder: Path, progress: Progress) -> Checks:
    """Run the tests of isolation; return how many there are and how many passed.

    Args:
        folder: The source code.
        progress: Called with a line of text at each step, with the name of each test that did not pass.
    """
    progress("invariants: the tests of isolation")
    with tempfile.TemporaryDirectory() as name:
        report = Path(name, "invariants.xml")
        pytest = (
            "-m",
            "pytest",
            INVARIANTS,
            "-q",
            "-p",
            "no:cacheprovider",
            f"--junitxml={report}",
        )
        await _run(folder, pytest, TEST_SECONDS)
        suite = await asyncio.to_thread(_suite, report)
    lost = [case for case in suite.iter("testcase") if any(map(case.findall, NOT_PASSED))]
    for case in lost:
        progress(f"did not pass: {case.get('classname')} {case.get('name')}")
    made = int(suite.attrib["tests"])
    return Checks(made=made, held=made - len(lost))


def _suite(report: Path) -> ET.Element:
    if not report.is_file():
        raise StartupError(f"{INVARIANTS} could not be run: are the development packages there?")
    return next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 (pytest wrote it)


async def mutants(folder: Path, some: int, seed: int, progress: Progress) -> tuple[Checks, int]:
    """Take out conditions on the owner, one by one, and see tests fail.

    Args:
        folder: The source code.
        some: How many; 0 is all.
        seed: Chooses which.
        progress: Called with a line of text at each step, with the name of each that no test found.

    Returns:
        Those that were tried and those that a test found or that are judged; how many there are.
    """
    progress(f"mutants: {some or 'all'}")
    listed = await _run(folder, ("-m", "tests.mutants", "--list"), TEST_SECONDS)
    chosen = ("--some", str(some), "--seed", str(seed)) if some else ()
    output = await _run(folder, ("-m", "tests.mutants", *chosen), MUTANT_SECONDS)
    found = _KILLED.search(output)
    if found is None:
        raise StartupError("the mutants could not be tried: the tests fail without any")
    for line in _SURVIVED.findall(output):
        progress(line)
    _, tried, survived = map(int, found.groups())
    return Checks(made=tried, held=tried - survived), len(listed.splitlines())


async def storm(
    folder: Path, plan: Plan, progress: Progress, env_file: Path | None = None
) -> Storm:
    """Serve the app with the demo model and a database of its own, and storm it.

    Args:
        folder: The source code.
        plan: How large the storm is.
        progress: Called with a line of text at each step.
        env_file: The file with settings that the environment does not hold.
    """
    keys = [secrets.token_hex(16) for _ in range(2)]
    stored = await asyncio.to_thread(dotenv_values, env_file) if env_file is not None else {}
    settings = {name: value for name, value in stored.items() if value is not None} | os.environ
    async with _served(folder, keys, settings) as url:
        target = Target(url, keys=keys)
        result = await run(target, plan, Bounds(20_000, 900.0), progress)
    planted = result.planted.values()
    return Storm(
        outcome=result.verdict.outcome,
        users=len(result.evidence.people),
        requests=result.budget.sent,
        bytes_read=result.budget.received,
        controls=Checks(made=len(planted), held=sum(planted)),
    )


@contextlib.asynccontextmanager
async def _served(
    folder: Path, keys: Sequence[str], settings: Mapping[str, str]
) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as data, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        names = (name for name in settings if name not in DROPPED)
        given = {name: settings[name] for name in names if not name.startswith(DROPPED_BEGINNINGS)}
        own = {
            "CMW_DATA_DIR": data,
            "CMW_HOST": "127.0.0.1",
            "CMW_PORT": str(port),
            "CMW_API_KEYS": ",".join(f"user{number}:{key}" for number, key in enumerate(keys)),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cmw_agent", "serve"),
            cwd=data,
            env={**given, **own, "PYTHONPATH": str(folder)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await _until_ready(url, process)
            yield url
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as http:
        while process.returncode is None:
            with contextlib.suppress(httpx.TransportError):
                if (await http.get(f"{url}/readyz")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise StartupError("the app does not start with these settings; try `cmw-agent serve`")


async def _run(folder: Path, arguments: Sequence[str], seconds: float) -> str:
    """Run Python in a folder; return what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise
    return output.decode(errors="replace")
