"""Settings and agent profiles, read once at the start."""
