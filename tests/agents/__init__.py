"""Agents of the operator: graphs, runnables, functions, their tools, and the check of both."""
