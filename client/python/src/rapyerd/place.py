"""Where a model lives: alone as a draft or a document, or in a field or container of another model.

Every atomic model has a place. A draft is put into another model by giving its place an owner; from then
on its handle works there. What lives somewhere already is copied instead.

    place.owner   a model (then `name` is its field) or a container (then `name` is the key of a dict,
                  None in a list, whose elements are found by their pks), None for a whole document
    place.saved   only of whole documents: it is in the daemon, so what is done to it must go there
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from rapyerd.described import schema_of
from rapyerd.errors import BadValueError

_set = object.__setattr__


class Place:
    # Most places are never more than this: that is cheapest where the class has it.
    pk: str | None = None
    owner: Any = None
    name: str | None = None
    saved = False
    named = False  # it was given the pk of a document that may be there
    failed: set[str] | None = None
    unloaded: set[str] | None = None  # lazy fields that were left out when it was read
    # Fields that were assigned, outside pipelines and locks: what was done to them since, None where
    # that is not known and the value itself has to be sent.
    changes: dict[str, list[tuple[str, Any]] | None] | None = None


def place_of(model: Any) -> Place:
    """The place of a model, made when it is first asked for."""
    try:
        return model.__rapyer_place__  # type: ignore[no-any-return]
    except AttributeError:
        place = Place()
        _set(model, "__rapyer_place__", place)
        return place


def pk_of(model: Any) -> str:
    """A model's pk: its key field, or a UUID that it gets when it is first asked for."""
    key = type(model).__rapyer_key__
    if key is not None:
        return str(model.__dict__[key])
    place = place_of(model)
    if place.pk is None:
        place.pk = str(uuid.uuid4())
    return place.pk


def root_of(model: Any) -> Any:
    """The document that a model or container lives in; itself when it is one, or a draft."""
    while True:
        owner = model.__rapyer_owner__  # of a container, in a model or in another one
        if owner is None:
            try:
                owner = model.__rapyer_place__.owner
            except AttributeError:
                return model
            if owner is None:
                return model
        model = owner


def _is_model(owner: Any) -> bool:
    return getattr(type(owner), "__rapyer_atomic__", False) is True


def quoted(key: str) -> str:
    return f"[{json.dumps(key, ensure_ascii=False)}]"


def path_of(model: Any) -> str:
    """The path of a model in its document, "" for the document itself."""
    place = place_of(model)
    owner = place.owner
    if owner is None:
        return ""
    if _is_model(owner):
        return field_path(owner, place.name or "")
    return owner._path_of(model, place.name)  # type: ignore[no-any-return]


def field_path(owner: Any, name: str) -> str:
    """The path of a field of a model."""
    above = path_of(owner)
    return f"{above}.{name}" if above else name


def key_of(root: Any) -> str:
    """The key of a document."""
    schema = schema_of(type(root))
    if schema.key is None:
        try:
            return schema.prefix + root.__rapyer_place__.pk  # type: ignore[no-any-return]
        except (AttributeError, TypeError):  # nobody has asked for it yet
            pass
    return schema.prefix + pk_of(root)


def own(owner: Any, name: str | None, model: Any) -> None:
    """The model lives there from now on."""
    place = place_of(model)
    place.owner = owner
    place.name = name
    place.changes = None


def live(root: Any) -> bool:
    """Does what is done to it go to the daemon?"""
    try:
        place = root.__rapyer_place__
    except AttributeError:
        return False
    return place.saved or place.named  # type: ignore[no-any-return]


def is_draft(model: Any) -> bool:
    """Does it live nowhere yet?"""
    place = place_of(model)
    return place.owner is None and not place.saved


def lodger(owner: Any, name: str | None, model: Any, atomic: Any) -> Any:
    """What is put into a field or container: a draft itself, which lives there from then on; a copy of
    what lives elsewhere; the atomic twin of a plain model."""
    if not isinstance(model, atomic):
        model = twin_for(atomic, model)
    elif not is_draft(model):
        place = place_of(model)
        if place.owner is owner and place.name == name:
            return model
        model = model.model_copy(deep=True)
    own(owner, name, model)
    return model


def twin_for(atomic: Any, plain: Any) -> Any:
    """An instance of the twin with what the plain model holds. They share it: what is done to one is seen
    in the other."""
    twin: Any = object.__new__(atomic)
    _set(twin, "__dict__", plain.__dict__)
    _set(twin, "__pydantic_fields_set__", plain.__pydantic_fields_set__)
    _set(twin, "__pydantic_extra__", plain.__pydantic_extra__)
    _set(twin, "__pydantic_private__", plain.__pydantic_private__)
    return twin


def adopt(model: Any, atomic: Any) -> dict[str, Any]:
    """A model as a map of the wire, with the pk that it has as an element. Lazy fields that were not
    loaded are named instead, so that the daemon keeps what it has."""

    if isinstance(model, dict):
        model = atomic.model_validate(model)
    place = getattr(model, "__rapyer_place__", None)
    if place is not None and place.failed:
        raise unread(model, place.failed)
    out = schema_of(type(model) if isinstance(model, atomic) else atomic).put(model.__dict__)
    if place is None:
        return out
    if place.owner is not None and not _is_model(place.owner) and place.owner._atomic:
        out["@pk"] = pk_of(model)
    if place.unloaded:
        for name in place.unloaded:
            out.pop(name, None)
        out["@lazy"] = list(place.unloaded)
    return out


def unread(model: Any, names: Iterable[str]) -> BadValueError:
    """What could not be read would be lost."""
    what = ", ".join(sorted(names))
    return BadValueError(
        f"BAD_VALUE: {key_of(root_of(model))}: {what} could not be read, and would be lost; assign a value"
    )


def models_in(codec: Any, value: Any) -> Iterator[Any]:
    """The models that a value holds, itself or in containers, not those in them."""
    if value is None or not codec.atomic:
        return
    if codec.model is not None:
        yield value
        return
    for element in value.values() if codec.holds == "dict" else value:
        yield from models_in(codec.item, element)


def unloaded_in(model: Any) -> list[tuple[Any, str]]:
    """The lazy fields in a model, and in all below it, that were not read yet."""
    schema = schema_of(type(model))
    if not schema.some_lazy:
        return []
    out = [(model, name) for name in place_of(model).unloaded or ()]
    for name, codec in schema.codecs.items():
        if codec.atomic:
            for inner in models_in(codec, getattr(model, name)):
                out += unloaded_in(inner)
    return out


def settle(model: Any) -> None:
    """Gives all models below this one their places, so that each handle works once it is saved."""
    for name, codec in schema_of(type(model)).codecs.items():
        if codec.atomic:
            for inner in models_in(codec, getattr(model, name)):  # wraps, and thereby owns, what is there
                settle(inner)
