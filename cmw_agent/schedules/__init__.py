"""Recurring tasks: when they run, and the tools that schedule them. Imported by `chat` and the layers above it."""
