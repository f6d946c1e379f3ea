"""Digests of what a certificate of isolation is about: the code and the packages."""

import hashlib
import importlib.metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("cmw_agent", "memory")
CODE = ("*.py", "*.js", "*.css", "*.html")


def code_digest() -> str:
    """Return the SHA-256 of the app's own code, as it is installed, in hex."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        paths = sorted({path for pattern in CODE for path in (ROOT / package).rglob(pattern)})
        for path in paths:
            name = path.relative_to(ROOT).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def packages_digest() -> str:
    """Return the SHA-256 of the names and versions of all installed packages, in hex."""
    found = {
        f"{item.metadata['Name']}=={item.version}".lower()
        for item in importlib.metadata.distributions()
    }
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()
