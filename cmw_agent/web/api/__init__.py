"""The page's own HTTP API: conversations, files, approvals, connections, usage."""
