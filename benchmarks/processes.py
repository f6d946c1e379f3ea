"""Runs the benchmark's servers as processes, each bound to one core."""

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CORES = sorted(os.sched_getaffinity(0))  # read before this process is bound to one of them
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]  # the same where there is only one
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process."""

    name: str
    url: str
    pid: int

    def cpu(self) -> float:
        """Return the CPU seconds so far, user and system, including children that have ended."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / TICKS

    def cpu_exact(self) -> float:
        """Return the CPU seconds of the process alone, to the nanosecond; `cpu` counts in ticks.

        The clock's id is that of clock_getcpuclockid(3) on Linux.
        """
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self) -> int:
        """Return the resident set size in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE


@contextlib.asynccontextmanager
async def process(
    name: str, arguments: list[str], *, core: int, port: int | None, env: dict[str, str]
) -> AsyncIterator[Server]:
    """Run ``python ARGUMENTS`` for the block, from when it listens.

    Args:
        name: The server's name in the results.
        arguments: Python's arguments.
        core: The core that it is bound to.
        port: The port that it will listen on; None where it prints its URL.
        env: Further environment variables.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env={**_clean_environment(), **env},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            if port is None:
                assert child.stdout is not None
                url = (await child.stdout.readline()).decode().split()[-1]
            else:
                url = f"http://127.0.0.1:{port}"
                await _wait_until_listening(port, child)
        yield Server(name, url, child.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), 15)
        except TimeoutError:
            child.kill()
            await child.wait()


@contextlib.asynccontextmanager
async def endpoint(rate: float, tokens: int) -> AsyncIterator[Server]:
    """Run the endpoint double for the block, at `rate` tokens a second (0: no pause)."""
    arguments = ["-m", "tests.doubles.openai_server", "--rate", str(rate), "--tokens", str(tokens)]
    async with process("endpoint", arguments, core=CLIENT_CORE, port=None, env={}) as server:
        yield server


@contextlib.asynccontextmanager
async def contender(
    name: str,
    model_url: str,
    tokens: int,
    *,
    window: int | None = None,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """Run one of the compared servers for the block.

    Args:
        name: ``app``, ``naive`` or ``floor``.
        model_url: The endpoint's base URL.
        tokens: The length of the model's answers in tokens.
        window: The app's context window in tokens; its default when absent.
        more: Further environment variables of the app.
    """
    port = free_port()
    env = {
        "OPENAI_BASE_URL": model_url,
        "CMW_TITLES": "off",
        "OPENAI_API_KEY": "benchmark",
        "CMW_MODEL": f"tokens-{tokens}",
    }
    arguments = ["-m", f"benchmarks.{name}", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        if name == "app":
            arguments = ["app.py"]
            env |= {
                "CMW_DATA_DIR": folder,
                "CMW_PORT": str(port),
                "CMW_LOG_LEVEL": "WARNING",
                "CMW_MAX_TURNS": "1000",
                # each user here writes faster than people can
                "CMW_TURNS_PER_MINUTE": "0",
                "CMW_TURNS_PER_ADDRESS": "0",
                "CMW_ADDRESS_SHARE": "1",
                "CMW_TURNS_AT_ONCE": "0",
                "CMW_USER_FIELD": "user",
            }
            if window is not None:
                env["CMW_HISTORY_TOKENS"] = str(window)
            env |= more or {}
        async with process(name, arguments, core=SERVER_CORE, port=port, env=env) as server:
            _check_separate_cores(server)
            yield server


def _check_separate_cores(server: Server) -> None:
    shared = os.sched_getaffinity(server.pid) & os.sched_getaffinity(0)
    if shared and len(CORES) > 1:
        raise RuntimeError(f"the server shares core {min(shared)} with its users")


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("CMW_", "OPENAI_", "GRADIO_"))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _wait_until_listening(port: int, child: asyncio.subprocess.Process) -> None:
    while child.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError("the server ended before it had started")
