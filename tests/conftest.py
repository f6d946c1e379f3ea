"""What holds for every test: none depends on the settings of the shell that runs it."""

import os

from cmw_agent.settings import PREFIX, Settings, variable

FOREIGN = ("GRADIO_", "LANGSMITH_", "LANGCHAIN_", "OPENAI_", PREFIX)


def _clear_environment() -> None:
    # Before any import of the app, and in each process of pytest-xdist: a developer's own
    # key must never reach a test, nor a test their endpoint.
    settings = {variable(field) for field in Settings.model_fields}
    for name in list(os.environ):
        if name in settings or name.startswith(FOREIGN):
            del os.environ[name]


_clear_environment()
