"""Settings and agent profiles, read once at the start. Imported by everything but `core` and `memory`."""
