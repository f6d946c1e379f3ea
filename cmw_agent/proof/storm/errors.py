"""Why a target cannot be judged."""

from cmw_agent.core.errors import StartupError


class TargetError(StartupError):
    """The target, or what it was given to do, keeps the run from going on; the text is one sentence."""


class AnswerRefusedError(TargetError):
    """The target answered a message with an error; the next message may be answered."""
