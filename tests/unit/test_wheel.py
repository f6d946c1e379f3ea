"""The wheel: built, installed into an environment of its own, and used from an empty folder."""

import asyncio
import contextlib
import email
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

import cmw_agent
from tests import papers
from tests.doubles.openai_server import OpenAIDouble
from tests.harness import WAIT, Browser, last_text
from tests.isolation.toolhouse import obedient
from tests.ports import free_port
from tests.rest import KEYS, client

ROOT = Path(__file__).parents[2]
PACKAGES = ("cmw_agent", "memory")
WHERE = """
import json, sys, cmw_agent, memory
before = "gradio" in sys.modules or "langchain_core" in sys.modules
names = {name: getattr(cmw_agent, name).__module__ for name in cmw_agent.__all__ if name[0] != "_"}
print(json.dumps([cmw_agent.__file__, memory.__file__, before, sorted(names)]))
"""

READ = """
import asyncio, sys
from pathlib import Path
from cmw_agent.config.settings import load_settings
from cmw_agent.files.extraction import Extraction
from cmw_agent.files.sniffing import HEAD, detect
document = Path(sys.argv[1])
media_type = detect(document.read_bytes()[:HEAD], document.name).media_type
extraction = Extraction(load_settings(None))
read = asyncio.run(extraction.read(document, media_type, document.with_suffix(".png")))
print(read.text)
"""
READABLE = """
from cmw_agent.files import extraction_worker
print(*extraction_worker.readable_paths(), sep="\\n")
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that holds the wheel alone, and an empty folder to run it in."""

    wheel: Path
    environment: Path
    folder: Path

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    def run(self, name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.program(name), *arguments],
            cwd=self.folder,
            env=variables(),
            check=False,
            capture_output=True,
            text=True,
            timeout=WAIT * 3,
        )


def variables() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "CMW_PORT": "0", "CMW_DEMO_PAUSE": "0"}


def requirements_of(
    extra: str, extras: dict[str, list[str]], condition: str
) -> Iterator[Requirement]:
    """Yield what an extra requires under a condition, and in place of the project its extras."""
    for requirement in map(Requirement, extras[extra]):
        if requirement.name == "cmw-agent":
            for inner in requirement.extras:
                yield from requirements_of(inner, extras, condition)
            continue
        own = f"({requirement.marker}) and " if requirement.marker else ""
        requirement.marker = Marker(own + condition)
        yield requirement


def called(*command: str) -> None:
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=WAIT * 3
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build the wheel and install it beside the tests' own dependencies, without a network."""
    house = tmp_path_factory.mktemp("wheel")
    called(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(house / "dist"))
    (wheel,) = (house / "dist").glob("*.whl")
    environment, folder = house / "environment", house / "empty"
    venv.create(environment)
    python = str(environment / "bin" / "python")
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps")
    called(*uv, "--python", python, str(wheel))
    own = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # A line of a .pth file stands behind the environment's own packages.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder.mkdir()
    return Installed(wheel, environment, folder)


@contextlib.asynccontextmanager
async def serving(
    installed: Installed, *app: str, folder: Path | None = None, **settings: str
) -> AsyncIterator[str]:
    """Run `cmw-agent serve`; give its address, and stop it as an operator does."""
    process = await asyncio.create_subprocess_exec(
        installed.program("cmw-agent"),
        "serve",
        *app,
        cwd=folder or installed.folder,
        env={**variables(), **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(WAIT * 3):
            line = await process.stdout.readline()
        assert line.startswith(b"CMW Agent is at http://"), line
        yield line.decode().split()[-1]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(WAIT * 3):
            await process.communicate()
        assert process.returncode in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def test_the_wheel_holds_every_file_of_both_packages(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert installed.wheel.name == f"cmw_agent-{cmw_agent.__version__}-py3-none-any.whl"


def test_the_wheel_requires_what_the_project_declares(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    expected = set(map(Requirement, project["dependencies"]))
    for extra in extras:
        expected |= set(requirements_of(extra, extras, f"extra == '{extra}'"))
    assert set(map(Requirement, metadata.get_all("Requires-Dist", []))) == expected
    assert set(metadata.get_all("Provides-Extra", [])) == set(extras)
    assert metadata["Requires-Python"] == project["requires-python"]


def test_an_installed_wheel_reads_a_document(installed: Installed) -> None:
    document = installed.folder.parent / "letter.docx"
    document.write_bytes(papers.word("needle ä"))
    done = installed.run("python", "-c", READ, str(document))
    assert done.returncode == 0, done.stderr
    assert "needle ä" in done.stdout


def test_libraries_are_readable_where_the_wheel_is_installed_into_any_folder(
    installed: Installed, tmp_path: Path
) -> None:
    # as `pip install --target` and `--user` do: no folder of the interpreter's own
    folder = tmp_path / "target"
    uv = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps")
    called(*uv, "--target", str(folder), str(installed.wheel))
    done = subprocess.run(
        [sys.executable, "-c", READABLE],
        cwd=tmp_path,
        env={**variables(), "PYTHONPATH": str(folder)},
        check=False,
        capture_output=True,
        text=True,
        timeout=WAIT,
    )
    assert done.returncode == 0, done.stderr
    assert str(folder) in done.stdout.split("\n")


def test_the_public_names_are_loaded_when_they_are_used(installed: Installed) -> None:
    done = installed.run("python", "-c", WHERE)
    assert (done.returncode, done.stderr) == (0, "")
    *files, before, names = json.loads(done.stdout)
    assert all(Path(file).is_relative_to(installed.environment) for file in files)
    assert not before
    assert names == sorted(name for name in cmw_agent.__all__ if name != "__version__")


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = cmw_agent.nonesuch
    assert set(cmw_agent.__all__) <= set(dir(cmw_agent))


@pytest.mark.slow
async def test_an_installed_wheel_serves_a_chat_and_its_commands(installed: Installed) -> None:
    async with serving(installed) as url, Browser(url) as browser:
        tab = await browser.open()
        await tab.send("My name is Alice")
        assert "Alice" in last_text((await tab.send("What is my name?")).value)
        for path in ("/page.js", "/widget.js", "/healthz"):
            async with browser.http.get(url + path) as answer:
                assert answer.status == 200
    stats = installed.run("cmw-agent", "stats", "--json")
    assert json.loads(stats.stdout)["messages"]["total"] == 4
    copied = installed.run("cmw-agent", "backup", "copy")
    assert copied.returncode == 0, copied.stderr
    restored = installed.run("cmw-agent", "restore", "--force", "copy")
    assert restored.stdout.endswith("now run: cmw-agent check\n")
    assert installed.run("cmw-agent", "check").stdout.startswith("all is well")
    assert installed.run("cmw-agent", "cleanup", "--dry-run").returncode == 0


EXAMPLES = {
    "function": ("counter", "one two three", "Your message has 3 words, and this conversation 1"),
    "page_part": ("help", "Hello", "You said: Hello"),
    "tools": ("notes", "do read_notes {}", "There are no notes."),
    "graph": ("shop", "shoes", "You will get size 42."),
}


def test_every_example_is_run_here() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, "channel"}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_installed_wheel_runs_an_example(
    name: str, installed: Installed, tmp_path: Path
) -> None:
    agent, message, expected = EXAMPLES[name]
    shutil.copy(ROOT / "examples" / f"{name}.py", tmp_path)
    async with OpenAIDouble(scripts={"obedient": obedient}) as endpoint:
        settings = {
            "CMW_API_KEYS": KEYS,
            "OPENAI_BASE_URL": endpoint.base_url,
            "CMW_MODEL": "obedient",
        }
        async with (
            serving(installed, f"{name}:app", folder=tmp_path, **settings) as url,
            client(url, agent=agent) as shop,
        ):
            streaming = shop.say(message, "buyer", Accept="text/event-stream")
            running = asyncio.create_task(streaming)
            while not running.done():
                waiting = await shop.at("buyer", "/approvals")
                for call in waiting.json["waiting"] if waiting.status == 200 else ():
                    given = {**call["arguments"], "answer": "42"}
                    body = {"call": call["call"], "answer": "approved", "arguments": given}
                    path = f"/api/chat/{agent}/sessions/buyer/approvals"
                    assert (await shop.ask("POST", path, body)).status == 204
            await running
            stored = (await shop.at("buyer")).json["messages"][-1]["content"]
            assert expected in stored


@pytest.mark.slow
async def test_an_installed_wheel_runs_a_channel_of_one_s_own(
    installed: Installed, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "examples" / "channel.py", tmp_path)
    secret, port = b"secret-of-the-messenger", free_port()
    process = await asyncio.create_subprocess_exec(
        *(installed.program("python"), "-m", "uvicorn", "channel:app", "--port", str(port)),
        cwd=tmp_path,
        env={**variables(), "HOOK_SECRET": secret.decode()},
        stdout=subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )

    async def post(sender: str, text: str, key: bytes = secret, number: str = "1") -> Any:
        update = {"message_id": number, "sender": sender, "text": text}
        body = json.dumps(update).encode()
        headers = {"x-signature": hmac.new(key, body, hashlib.sha256).hexdigest()}
        async with http.post(f"http://127.0.0.1:{port}/hook", data=body, headers=headers) as reply:
            return (await reply.json())["text"] if reply.status == 200 else reply.status

    try:
        async with asyncio.timeout(WAIT * 3), aiohttp.ClientSession() as http:
            assert process.stderr is not None
            while b"running on" not in await process.stderr.readline():
                assert process.returncode is None
            assert await post("kim", "tea") == "You wrote: tea"
            assert await post("kim", "tea") == "You wrote: tea"  # delivered again
            assert await post("kim", "milk", number="2") == "You wrote: tea, milk"
            assert await post("lee", "sugar") == "You wrote: sugar"
            assert await post("kim", "all", b"another") == 401
            async with http.get(f"http://127.0.0.1:{port}/chat/") as page:
                assert page.status == 200
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), WAIT * 3)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
