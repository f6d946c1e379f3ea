"""Recurring tasks: when they run, and the tools that make them. Imported by `chat` and what stands above it."""
