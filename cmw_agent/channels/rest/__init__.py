"""The REST API under `/api`. Imported by `channels.app` alone."""
