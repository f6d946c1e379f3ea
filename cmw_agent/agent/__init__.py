"""The agent: the tool loop that all users share, and what each run brings with it."""
