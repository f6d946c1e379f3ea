"""The agent: one compiled graph for all users, and what each run brings with it. Imported by `chat` and what stands above it."""
