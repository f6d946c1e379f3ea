"""Settings and agent profiles, read once at the start. Imported by every package except `core` and `memory`."""
