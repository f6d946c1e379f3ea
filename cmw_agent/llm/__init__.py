"""Client of OpenAI-compatible endpoints, and the demo model."""
