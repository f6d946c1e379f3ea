"""Tools that every agent has. They read no user data and change nothing."""

from langchain_core.tools import BaseTool

from cmw_agent.tools.builtin.arithmetic import calculate
from cmw_agent.tools.builtin.clock import current_time

BUILT_IN: tuple[BaseTool, ...] = (current_time, calculate)

__all__ = ["BUILT_IN", "calculate", "current_time"]
