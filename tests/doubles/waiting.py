"""How long a test waits for what must come."""

WAIT = 60.0  # seconds: of use where something is wrong, or the machine is busy with something else
