"""Logs, metrics and traces. Imported by `runtime` and what stands above it."""
