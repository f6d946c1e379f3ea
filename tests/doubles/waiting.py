"""The time limit of everything that a test waits for."""

WAIT = 60.0  # seconds; reached only by a failure, or on a very busy machine
