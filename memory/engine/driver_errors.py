"""Turns a driver's errors into the package's own, which carry a code and never a parameter."""

import socket
import sqlite3
import ssl

import sqlalchemy.exc

from memory.errors import DatabaseFullError, DatabaseUnavailableError, StoreError

# what a driver, SQLAlchemy's pool or a time limit raises when the database is at fault
DRIVER_ERRORS = (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError, TimeoutError)

_POSTGRES_DISK_FULL = "53100"
# connection, resources, operator intervention, system error, rollback, read-only transaction, login,
# no such database
_POSTGRES_UNAVAILABLE = ("08", "53", "57", "58", "40", "25", "28", "3D")

# what an operator can mend, by the server's code
_CAUSES = {
    "28P01": "it refuses the password",
    "28000": "it refuses the user",
    "3D000": "it has no database of this name",
    "42501": "its role has no right to do this; the tables need one that may create them",
    "53300": "it has no connection left",
}


class UnusableAddressError(OSError):
    """A database's address names a host or a certificate that cannot be."""


def translated(error: BaseException) -> StoreError:
    """Return the package's error for one of DRIVER_ERRORS.

    Raise it `from None`: the driver's own message may quote a row.
    """
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    reason = f"{type(cause).__name__} {code}" if code else type(cause).__name__
    if explained := _explained(cause, code):
        reason = f"{explained}; {reason}"
    if code == "SQLITE_FULL" or code == _POSTGRES_DISK_FULL:
        return DatabaseFullError(f"the database is full ({reason})")
    if _is_unavailable(error, cause, code):
        return DatabaseUnavailableError(f"the database is unavailable ({reason})")
    return StoreError(f"the database refused a statement ({reason})")


def _explained(cause: BaseException, code: str | None) -> str | None:
    """Return what an operator can do something about; None where the error's name says it."""
    match cause:
        case socket.gaierror():
            return "its host is not known"
        case ssl.SSLCertVerificationError():
            return "its certificate is not one that this machine trusts"
        case UnusableAddressError():
            return "the address cannot be used"
        case ConnectionRefusedError():
            return "nothing listens at its address"
        case TimeoutError():
            return "it did not answer in time"
    return _CAUSES.get(code or "")


def _is_unavailable(error: BaseException, cause: BaseException, code: str | None) -> bool:
    if isinstance(error, OSError | TimeoutError | sqlalchemy.exc.TimeoutError):
        return True
    if getattr(error, "connection_invalidated", False):
        return True
    if code and not code.startswith("SQLITE_"):
        return code.startswith(_POSTGRES_UNAVAILABLE)
    if isinstance(cause, sqlite3.Error):
        return not isinstance(cause, sqlite3.IntegrityError | sqlite3.ProgrammingError)
    return isinstance(error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
