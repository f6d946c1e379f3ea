"""Tools that an agent may call: the toolset of a run, approvals, built-in tools, Composio."""
