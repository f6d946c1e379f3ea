"""Free ports for programs whose port must be known before they start."""

import os
import random
import socket

REFUSED = 10_080  # Chromium opens no page on it
FIRST, EACH, PROCESSES = 10_000, 2_000, 8  # below the range of ephemeral ports


def free_port() -> int:
    """Return a port of 127.0.0.1 that no program uses and that is not an ephemeral port.

    Each process of pytest-xdist has a range of its own.

    Raises:
        OSError: No free port was found.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PROCESSES
    ports = range(FIRST + worker * EACH, FIRST + (worker + 1) * EACH)
    for port in random.SystemRandom().sample(ports, 100):
        if port == REFUSED:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port found in {ports}")
