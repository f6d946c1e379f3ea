"""Agents that the operator brings: graphs, runnables and functions, and their tools."""
