"""Ports for programs that are told theirs before they start."""

import os
import random
import socket

FIRST, EACH, PROCESSES = 10_000, 2_000, 8  # below what systems give out to whoever asks for any


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, nor gets unless they ask for it.

    Each process of pytest-xdist looks in a part of its own. Raises OSError when all are taken.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PROCESSES
    ports = range(FIRST + worker * EACH, FIRST + (worker + 1) * EACH)
    for port in random.SystemRandom().sample(ports, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port found in {ports}")
