"""Rate limits and budgets of users, network addresses and the process. Imported by `chat` and the layers above it."""
