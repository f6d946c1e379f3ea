"""How a run's tape reaches what an agent calls: in the callbacks, which LangChain hands on."""

from collections.abc import Sequence

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, BaseCallbackManager
from langchain_core.runnables import RunnableConfig, ensure_config

from cmw_agent.recording.tape import RunTape


class TapeHandler(AsyncCallbackHandler):
    """Carries a run's tape in the callbacks of its configuration; it listens to nothing.

    Args:
        tape: The run's.
    """

    def __init__(self, tape: RunTape) -> None:
        self.tape = tape


def tape_of(config: RunnableConfig | None) -> RunTape | None:
    """Return the tape that a configuration carries; None where nothing is recorded."""
    callbacks = ensure_config(config).get("callbacks")
    handlers: Sequence[BaseCallbackHandler] = (
        callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()
    )
    return next((each.tape for each in handlers if isinstance(each, TapeHandler)), None)
