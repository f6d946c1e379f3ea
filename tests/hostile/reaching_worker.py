"""An extraction worker under an attacker's control: reports what of the machine it can reach.

The document's text is a JSON object of targets; the result is a JSON object of outcomes:
``reached`` or the name of the error. The calls go to the C library directly, because an attacker
would first remove Python's audit hook.
"""

import ctypes
import errno
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import BinaryIO

from cmw_agent.files import extraction_worker

LIBC = ctypes.CDLL(None, use_errno=True)
SEIZE = 0x4206  # of ptrace: to attach without a stop


def called(result: int) -> str:
    """Return the outcome of a call of the C library by its result."""
    return "reached" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def opened(path: str, flags: int = os.O_RDONLY) -> str:
    return called(LIBC.open(path.encode(), flags, 0o600))


def connected(kind: int, address: bytes, family: int = socket.AF_INET) -> str:
    descriptor = LIBC.socket(family, kind, 0)
    if descriptor < 0:
        return errno.errorcode[ctypes.get_errno()]
    return called(LIBC.connect(descriptor, address, len(address)))


def internet(port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + b"\x7f\0\0\1" + bytes(8)


def local(path: str) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + path.encode() + b"\0"


def attack(source: BinaryIO, _media_type: str, _picture: BinaryIO | None) -> dict[str, str]:
    targets = json.load(source)
    folder, parent, port = targets["folder"], targets["parent"], targets["port"]
    tries: dict[str, Callable[[], str]] = {
        f"read {name}": lambda name=name: opened(f"{folder}/{name}")  # type: ignore[misc]
        for name in targets["files"]
    }
    tries |= {
        "read the machine's accounts": lambda: opened("/etc/passwd"),
        "write a new file": lambda: opened(f"{folder}/new", os.O_WRONLY | os.O_CREAT),
        "write to the database": lambda: opened(f"{folder}/chat.db", os.O_WRONLY),
        "write to the temporary folder": lambda: opened("/tmp/new", os.O_WRONLY | os.O_CREAT),
        "list the data folder": lambda: opened(folder, os.O_RDONLY | os.O_DIRECTORY),
        "delete the database": lambda: called(LIBC.unlink(f"{folder}/chat.db".encode())),
        "rename the database": lambda: called(
            LIBC.rename(f"{folder}/chat.db".encode(), f"{folder}/x".encode())
        ),
        "open the database to all": lambda: called(LIBC.chmod(f"{folder}/chat.db".encode(), 0o666)),
        "read the app's environment": lambda: opened(f"/proc/{parent}/environ"),
        "read the app's memory": lambda: opened(f"/proc/{parent}/mem"),
        "connect by TCP": lambda: connected(socket.SOCK_STREAM, internet(port)),
        "send by UDP": lambda: connected(socket.SOCK_DGRAM, internet(port)),
        "connect to a local socket": lambda: connected(
            socket.SOCK_STREAM, local(targets["socket"]), socket.AF_UNIX
        ),
        "signal the app": lambda: called(LIBC.kill(parent, 0)),
        "trace the app": lambda: called(LIBC.ptrace(SEIZE, parent, 0, 0)),
        "run a program": lambda: called(LIBC.execl(b"/there is none", None)),
    }
    outcomes = {name: attempt() for name, attempt in tries.items()}
    outcomes["environment"] = " ".join(sorted(os.environ))
    return {"media_type": "text/plain", "text": json.dumps(outcomes)}


if __name__ == "__main__":
    extraction_worker.main(attack)
