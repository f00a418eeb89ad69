"""What can go wrong: a class for each code of the protocol, and the names that Rapyer's users catch.

The daemon says what is wrong as one text, ``"CODE: text"``. `error_of` makes the exception of it.
In a program that has imported redis-py they are also the errors that its users catch.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from typing_extensions import Self


class RapyerError(Exception):
    """All errors of this package.

    `redis_name`: the class of redis-py that such an error is, too, once the program has imported it.
    (Importing it here would cost most programs half a second for nothing.)
    """

    code = ""
    redis_name = ""

    def __new__(cls, *args: object) -> Self:
        made: Any = cls
        if cls.redis_name and "redis.exceptions" in sys.modules:
            made = _both(made, getattr(sys.modules["redis.exceptions"], cls.redis_name))
        error: Self = Exception.__new__(made, *args)
        return error


@functools.cache
def _both(cls: Any, other: Any) -> Any:
    if issubclass(cls, other):
        return cls
    body = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "__reduce__": lambda self: (cls, self.args),  # a pickle knows the class that has the name
    }
    return type(cls.__name__, (cls, other), body)


# --- what the daemon says ---------------------------------------------------------------------


class ResponseError(RapyerError):
    """The daemon refused the request; nothing of it was applied."""

    redis_name = "ResponseError"


class BadValueError(ResponseError):
    """A value, key or path that cannot be taken (BAD_TYPE, BAD_VALUE, BAD_KEY, BAD_PATH)."""


class OutOfRangeError(ResponseError, IndexError):
    """An index or a number outside its range (OUT_OF_RANGE)."""


class TooLargeError(ResponseError):
    """A message or a value over the daemon's limits (TOO_LARGE)."""


class SchemaError(ResponseError):
    """A declaration that the daemon cannot take (BAD_SCHEMA, UNKNOWN_MODEL, UNKNOWN_FIELD)."""


class SchemaConflictError(SchemaError):
    """The model is stored with other types than the class has (SCHEMA_CONFLICT)."""


class NotSupportedError(ResponseError):
    """This daemon has no such method (UNKNOWN_METHOD)."""


class ForbiddenError(ResponseError):
    """The daemon's rules do not let this user do that (FORBIDDEN)."""

    redis_name = "NoPermissionError"


class KeyNotFound(ResponseError):
    """There is no such document, element or key (NOT_FOUND)."""


class ConflictError(ResponseError):
    """The document has another version than was expected, or another one has the value of a unique field
    (CONFLICT)."""


class RapyerSerializationError(RapyerError):
    """A value that cannot be put into the form in which it is kept."""


class CantSerializeRedisValueError(RapyerSerializationError):
    """What is stored cannot be made a value of its field again."""


class CorruptedModelError(ResponseError, CantSerializeRedisValueError):
    """Redis holds something that was not written by rapyerd or does not fit the class (CORRUPT)."""


class UnavailableError(RapyerError):
    """The daemon or its Redis cannot be reached; nothing was applied (UNAVAILABLE)."""

    redis_name = "ConnectionError"


class BusyError(UnavailableError):
    """A limit of the daemon is reached; nothing was applied, try again later (BUSY)."""


class UnknownOutcomeError(RapyerError):
    """Whether the write was applied cannot be known (UNKNOWN_OUTCOME, INTERNAL, or the connection
    to the daemon was lost before the answer). The next read shows it."""

    redis_name = "ConnectionError"


class NotDurableError(RapyerError):
    """The write was applied, but on fewer replicas or disks than the daemon's settings want, so that
    a failover may lose it (NOT_DURABLE)."""

    redis_name = "ResponseError"


class LockError(RapyerError):
    """What has to do with a lock."""

    redis_name = "LockError"


class LockLostError(LockError):
    """The lock's lease is gone; what was to be written under it was not (LOCK_LOST)."""


class LockTimeoutError(LockError):
    """The lock was not free within the time given (LOCK_TIMEOUT)."""


class DeadlockError(LockError):
    """Waiting for the lock would close a circle of waits (DEADLOCK)."""


_CLASSES: dict[str, type[RapyerError]] = {
    "BAD_FRAME": ResponseError,
    "TOO_LARGE": TooLargeError,
    "BAD_REQUEST": ResponseError,
    "UNKNOWN_METHOD": NotSupportedError,
    "BAD_KEY": BadValueError,
    "BAD_PATH": BadValueError,
    "BAD_TYPE": BadValueError,
    "BAD_VALUE": BadValueError,
    "OUT_OF_RANGE": OutOfRangeError,
    "UNKNOWN_FIELD": SchemaError,
    "UNKNOWN_MODEL": SchemaError,
    "BAD_SCHEMA": SchemaError,
    "SCHEMA_CONFLICT": SchemaConflictError,
    "NOT_FOUND": KeyNotFound,
    "CORRUPT": CorruptedModelError,
    "CONFLICT": ConflictError,
    "UNAVAILABLE": UnavailableError,
    "UNKNOWN_OUTCOME": UnknownOutcomeError,
    "BUSY": BusyError,
    "LOCK_LOST": LockLostError,
    "LOCK_TIMEOUT": LockTimeoutError,
    "DEADLOCK": DeadlockError,
    "INTERNAL": UnknownOutcomeError,
    "NO_INDEX": NotSupportedError,
    "FORBIDDEN": ForbiddenError,
    "NOT_DURABLE": NotDurableError,
    "CROSS_SLOT": NotSupportedError,
}


def error_of(said: object) -> RapyerError:
    """The exception for what the daemon said."""
    text = str(said)
    code = text.partition(":")[0]
    error = _CLASSES.get(code, ResponseError)(text)
    error.code = code
    return error


# --- the names of Rapyer ----------------------------------------------------------------------


class RapyerModelDoesntExistError(RapyerError):
    """A key names a model of which there is no class."""

    def __init__(self, model_name: str, *args: object) -> None:
        super().__init__(*(args or (f"there is no model class {model_name!r}",)))
        self.model_name = model_name


class MissingParameterError(RapyerError):
    """A call without the arguments it needs."""


class UnsupportedArgumentValueError(RapyerError):
    """An argument with a value that cannot be."""


class UnsupportedArgumentTypeError(RapyerError):
    """An argument of a type that cannot be."""


class UpdateAtomicModelError(RapyerError):
    """A field that cannot be changed in this way."""


class InvalidRefreshTtlError(RapyerError):
    """``refresh_ttl`` with ``ActionGroup.DELETE``: what is deleted has no time to live."""


class DuplicateModelNameError(RapyerError):
    """Two models of one wire name."""

    def __init__(self, model_name: str, *args: object) -> None:
        super().__init__(*(args or (model_name,)))
        self.model_name = model_name


class NotResolvedError(RapyerError):
    """The target of a reference that was not fetched."""


class BadDeleteActionError(RapyerError):
    """Only whole documents can be deleted."""


class InvalidCascadeDepthError(RapyerError):
    """A depth below 0."""


class CascadeTargetTtlMissingError(RapyerError):
    """A cascade leads to a model without a ttl."""


class CascadeKeyInitialsError(RapyerError):
    """Kept for programs that catch it; there is no such restriction here."""


class CascadeLuaLiteralError(RapyerError):
    """Kept for programs that catch it; no Lua is written here."""


class MetaFrozenError(RapyerError):
    """Kept for programs that catch it."""


class FindError(RapyerError):
    """What has to do with finding."""


class BadFilterError(FindError):
    """An expression that is no filter."""


class UnsupportedIndexedFieldError(FindError):
    """A field of a type that cannot be indexed."""


class ScriptsNotInitializedError(RapyerError):
    """Kept for programs that catch it; there are no scripts here."""


class PersistentNoScriptError(RapyerError):
    """Kept for programs that catch it; there are no scripts here."""


UnsupportArgumentTypeError = UnsupportedArgumentTypeError
