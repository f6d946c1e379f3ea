"""A process loads what it needs: not the libraries of features that are off or not used yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Starts the app, lets the demo model answer once, and prints what of `argv` has been executed.
SCRIPT = """
import asyncio, sys

import app
from tests.service import all_events, answer_text, session_of


async def main():
    own, runtime = app.application.own, app.application.runtime
    async with own.router.lifespan_context(own):
        session = await session_of(runtime)
        assert answer_text(await all_events(runtime.chat.turn(session, "hello", key="1")))


asyncio.run(main())
for name in sys.argv[1:]:
    module = sys.modules.get(name)
    # the type of a lazy module changes when it is executed
    if module is not None and type(module).__name__ != "_LazyModule":
        print(name)
"""
OPENAI = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
SIGN_IN = {
    "OPENID_PROVIDER_URL": "http://127.0.0.1:9",
    "OAUTH_CLIENT_ID": "id",
    "OAUTH_CLIENT_SECRET": "secret",
}
UNUSED = (
    *("pandas", "matplotlib", "markitdown", "magika", "onnxruntime", "tiktoken"),
    *(
        "langgraph",
        "langchain.agents",
        "langchain_openai",
        "openai",
        "authlib",
        "joserfc",
        "composio",
        "composio_client",
        "mcp",
        "mcp_types",
    ),
    *("opentelemetry.exporter", "redis", "asyncpg"),
)


def loaded(folder: Path, script: str, *names: str, **settings: str) -> set[str]:
    """Return those of the modules that a new process with these settings has executed."""
    kept = {"PATH", "HOME", "PYTHONPATH", "LANG", "SYSTEMROOT"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    process = subprocess.run(
        [sys.executable, "-c", script, *names],
        cwd=ROOT,
        env={**environment, "CMW_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT), **settings},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return set(process.stdout.split())


def test_a_process_that_has_answered_has_loaded_no_library_of_what_is_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, SCRIPT, *UNUSED, "langchain_core", "numpy") == {
        "langchain_core",
        "numpy",
    }


BUILT = """
import sys

import app

print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(OPENAI, {"langchain_openai"}), (SIGN_IN, {"authlib", "joserfc"})],
    ids=["an endpoint", "sign-in"],
)
def test_what_a_setting_needs_is_loaded_before_the_event_loop_runs(
    settings: dict[str, str], expected: set[str], tmp_path: Path
) -> None:
    assert loaded(tmp_path, BUILT, "langchain_openai", "authlib", "joserfc", **settings) == expected


LATER = """
import sys

from cmw_agent.web.gradio_transport import environment
import gradio

pandas = sys.modules["pandas"]
before = object.__getattribute__(pandas, "__dict__").keys() & {"DataFrame"}
print("early" if before else "late", len(pandas.DataFrame({"a": [1, 2]})), pandas.__name__)
"""


def test_a_library_that_is_loaded_late_works(tmp_path: Path) -> None:
    assert loaded(tmp_path, LATER) == {"late", "2", "pandas"}


COLLECTED = """
import gc

before = gc.get_threshold()
import app

print(gc.get_threshold() == before)
"""


def test_the_garbage_collector_is_as_before_once_the_app_is_imported(tmp_path: Path) -> None:
    assert loaded(tmp_path, COLLECTED) == {"True"}


STUB = """
import sys
from pathlib import Path

from cmw_agent.web.gradio_transport import environment
import gradio

folder = Path(sys.argv[1])
(folder / "own.py").write_text(
    "import gradio\\n\\nclass Own(gradio.Textbox):\\n    EVENTS = ['change']\\n"
)
sys.path.insert(0, str(folder))
import own

print(own.Own.__name__, *(path.name for path in folder.glob("*.pyi")))
"""


def test_gradio_writes_no_stub_of_a_component(tmp_path: Path) -> None:
    assert loaded(tmp_path, STUB, str(tmp_path)) == {"Own"}
