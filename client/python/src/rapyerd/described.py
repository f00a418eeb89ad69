"""The descriptions of model classes, where all the others find them. `schema` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rapyerd.schema import Schema

descriptions: dict[Any, Schema] = {}
# By the name in the daemon: the class that has it, and what tells it from another class of that name.
owners: dict[str, tuple[Any, str]] = {}


def _nobody(model: Any) -> Schema:
    raise NotImplementedError


describe: Callable[[Any], Schema] = _nobody  # makes the description of a class


def schema_of(model: Any) -> Schema:
    """The description of an atomic model."""
    schema = descriptions.get(model)
    return describe(model) if schema is None else schema


def owner_of(name: str) -> Any:
    """The class of a name, or None."""
    return owners.get(name, (None, ""))[0]
