"""The client of OpenAI-compatible endpoints, and the demo model. Imported by `agent` and what stands above it."""
