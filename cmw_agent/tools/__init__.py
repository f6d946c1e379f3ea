"""Tools that an agent may call: the toolset of a run, approvals, built-in tools, Composio. Imported by `agent` and what stands above it."""
