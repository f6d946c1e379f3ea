"""Client of OpenAI-compatible endpoints, and the demo model. Imported by `agent` and the layers above it."""
