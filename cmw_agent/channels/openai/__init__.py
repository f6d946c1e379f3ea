"""The OpenAI-compatible API under `/v1`. Imported by `channels.app` alone."""
