"""Expressions over fields: ``User.age >= 18``. The daemon looks for the documents for which they hold, by
indexes where fields are marked `Index`. What it cannot compare (tuples, unions, ...) is looked at here,
document by document.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args, get_origin

from rapyerd.described import schema_of
from rapyerd.errors import BadFilterError

# Types that the daemon compares, and orders.
_COMPARED = frozenset(
    (
        "bool", "int", "float", "str", "datetime", "decimal", "date", "time", "timedelta", "datetime_naive",
        "datetime_zoned", "uuid",
    )
)  # fmt: skip


def _bare(codec: Any) -> str:
    """The type of a field, be it that it may be None as well."""
    wire: str = codec.wire
    return wire[len("optional<") : -1] if wire.startswith("optional<") else wire


class Expression:
    """A condition on a document."""

    def holds(self, document: Any) -> bool:
        raise BadFilterError("compare the field with something: ==, !=, <, <=, >, >=")

    def wire(self) -> list[Any] | None:
        """As the daemon takes it, None where it has no form for it."""
        return None

    def __and__(self, other: Expression) -> Expression:
        return Both(self, other, "and")

    def __or__(self, other: Expression) -> Expression:
        return Both(self, other, "or")

    def __invert__(self) -> Expression:
        return Not(self)


class Both(Expression):
    def __init__(self, left: Expression, right: Expression, how: str) -> None:
        self.left = left
        self.right = right
        self.how = how

    def holds(self, document: Any) -> bool:
        sides = (side.holds(document) for side in (self.left, self.right))
        return all(sides) if self.how == "and" else any(sides)

    def wire(self) -> list[Any] | None:
        left, right = self.left.wire(), self.right.wire()
        return None if left is None or right is None else [self.how, left, right]


class Not(Expression):
    def __init__(self, inner: Expression) -> None:
        self.inner = inner

    def holds(self, document: Any) -> bool:
        return not self.inner.holds(document)

    def wire(self) -> list[Any] | None:
        inner = self.inner.wire()
        return None if inner is None else ["not", inner]


def _among(found: Any, values: Any) -> bool:
    return found in values


def _begins(found: Any, prefix: str) -> bool:
    return bool(found.startswith(prefix))


class Comparison(Expression):
    def __init__(
        self, field: ExpressionField, method: str, compare: Callable[[Any, Any], Any], value: Any
    ) -> None:
        self.field = field
        self.method = method
        self.compare = compare
        self.value = value

    def holds(self, document: Any) -> bool:
        return any(self._holds(found) for found in self.field._values(document))

    def _holds(self, found: Any) -> bool:
        if found is None and self.method not in ("=", "!=", "in"):
            return False
        try:
            return bool(self.compare(found, self.value))
        except TypeError as error:
            raise BadFilterError(f"{self.field.field_name} cannot be compared with {self.value!r}") from error

    def wire(self) -> list[Any] | None:
        codec = self.field._codec()
        if codec is None:
            return None
        if self.method == "has":
            if codec.item is None or codec.holds not in ("list", "set", "dict"):
                return None
            value = self.value if codec.holds == "dict" else self._put(codec.item)
            return ["has", self.field.field_name, value]
        wire = _bare(codec)
        if wire not in _COMPARED and not wire.startswith("ref<"):
            return None
        if self.method == "in":
            values = [codec.put(self._fitting(codec, value)) for value in self.value]
            return ["in", self.field.field_name, values]
        value = self.value if self.method == "prefix" else self._put(codec)
        return [self.method, self.field.field_name, value]

    def _put(self, codec: Any) -> Any:
        return codec.put(self._fitting(codec, self.value))

    def _fitting(self, codec: Any, value: Any) -> Any:
        """A value of the field's type; an int or a float stays what it is."""
        if value is None or (type(value) in (int, float) and codec.kind in ("int", "float")):
            return value
        try:
            return codec.validate(value)
        except ValueError as error:
            raise BadFilterError(f"{self.field.field_name} cannot be compared with {value!r}") from error


class ExpressionField(Expression):
    """A field of a model class. `_steps`: the models on the way, and the name in each; whether the last one
    is a list or dict of the next."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, steps: tuple[tuple[Any, str, bool], ...], model: Any) -> None:
        self._steps = steps
        self._model = model

    @property
    def field_name(self) -> str:
        """Its path: ``settings.theme``, ``posts[].title``."""
        last = len(self._steps) - 1
        return ".".join(
            name + ("[]" if several and index < last else "")
            for index, (_, name, several) in enumerate(self._steps)
        )

    def wire(self) -> list[Any] | None:
        raise BadFilterError(f"compare {self.field_name} with something: ==, !=, <, <=, >, >=")

    def __getattr__(self, name: str) -> ExpressionField:
        model = self.__dict__.get("_model")
        if name.startswith("_") or model is None or name not in model.model_fields:
            raise AttributeError(name)
        return expression_of(model, name, self._steps)

    def _codec(self) -> Any:
        """How it is kept; None where it is inside a value."""

        model, codec = self._steps[0][0], None
        for index, (_, name, several) in enumerate(self._steps):
            codec = schema_of(model).codecs.get(name)
            if codec is None:
                return None
            if index < len(self._steps) - 1:
                inner = codec.item if several and codec.kind in ("list", "dict") else codec
                if inner is None or inner.kind != "model":
                    return None
                model = inner.model
        return codec

    def _values(self, document: Any) -> Iterator[Any]:
        """What documents have there: several, where it is in a list or dict of models."""
        found = [document]
        last = len(self._steps) - 1
        for index, (_, name, several) in enumerate(self._steps):
            found = [getattr(each, name, None) for each in found]
            if several and index < last:
                found = [
                    element
                    for each in found
                    for element in (each.values() if isinstance(each, dict) else each or ())
                ]
        return iter(found)

    def __eq__(self, value: object) -> Any:
        return Comparison(self, "=", operator.eq, value)

    def __ne__(self, value: object) -> Any:
        return Comparison(self, "!=", operator.ne, value)

    def __lt__(self, value: Any) -> Expression:
        return Comparison(self, "<", operator.lt, value)

    def __le__(self, value: Any) -> Expression:
        return Comparison(self, "<=", operator.le, value)

    def __gt__(self, value: Any) -> Expression:
        return Comparison(self, ">", operator.gt, value)

    def __ge__(self, value: Any) -> Expression:
        return Comparison(self, ">=", operator.ge, value)

    def in_(self, values: Iterable[Any]) -> Expression:
        """Is it one of these?"""
        return Comparison(self, "in", _among, list(values))

    def startswith(self, prefix: str) -> Expression:
        """Does the text begin so?"""
        return Comparison(self, "prefix", _begins, prefix)

    def contains(self, value: Any) -> Expression:
        """Is this an element of the list or set, a key of the dict?"""
        return Comparison(self, "has", operator.contains, value)


def expression_of(model: Any, name: str, above: tuple[tuple[Any, str, bool], ...] = ()) -> ExpressionField:
    info = model.model_fields.get(name)
    if info is None:
        raise AttributeError(name)
    inner, several = _model_in(info.annotation)
    return ExpressionField((*above, (model, name, several)), inner)


def _model_in(annotation: Any) -> tuple[Any, bool]:
    """The model in a field, and whether it is a list or dict of such."""
    from pydantic import BaseModel

    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, (list, dict)) and get_args(annotation):
        inner, several = _model_in(get_args(annotation)[-1])
        return (inner, True) if inner is not None and not several else (None, False)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return (annotation if is_model else None), False


# --- indexes ----------------------------------------------------------------------------------

_TAGS = ("bool", "int", "float", "str", "datetime", "date", "time", "timedelta", "uuid")
_RANGE = ("int", "float", "decimal", "datetime", "datetime_naive", "date", "time", "timedelta")


def index_of(codec: Any) -> str | None:
    """By what documents are found where a field is marked `Index`; None where there is no index for it."""
    wire = _bare(codec)
    if wire.startswith("ref<"):
        return "exact"
    if codec.kind == "dict":  # of its keys
        return "tags"
    if codec.kind in ("list", "set"):
        item = codec.item.wire
        return "tags" if item in _TAGS or item.startswith("ref<") else None
    if wire in _RANGE:
        return "exact" if codec.kind == "value" and wire == "int" else "range"  # an Enum of ints
    if wire == "str":
        return "prefix" if codec.kind == "str" else "exact"
    return "exact" if wire in ("bool", "uuid") else None


def together(conditions: list[Expression]) -> list[Any] | None:
    """Conditions that must all hold, as one expression of the daemon's; None if it has no form for one."""
    wired = [condition.wire() for condition in conditions]
    if not wired or any(each is None for each in wired):
        return None
    return wired[0] if len(wired) == 1 else ["and", *wired]


def where(field: Any) -> ExpressionField:
    """A field of a model class, for type checkers, which take ``User.city`` for its value: they know
    ``where(User.city).in_(...)``, ``contains`` and ``startswith``."""
    if not isinstance(field, ExpressionField):
        raise BadFilterError(f"a field of a model class is wanted, User.city, not {field!r}")
    return field
