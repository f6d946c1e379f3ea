"""Rate limits and budgets of users, network addresses and the process. Imported by `chat` and what stands above it."""
