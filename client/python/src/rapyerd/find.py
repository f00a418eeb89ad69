"""Expressions over fields: ``User.age >= 18``. They are looked at here, document by document."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from rapyerd.errors import BadFilterError


class Expression:
    """A condition on a document."""

    def holds(self, document: Any) -> bool:
        raise BadFilterError("compare the field with something: ==, !=, <, <=, >, >=")

    def __and__(self, other: Expression) -> Expression:
        return Both(self, other, all)

    def __or__(self, other: Expression) -> Expression:
        return Both(self, other, any)

    def __invert__(self) -> Expression:
        return Not(self)


class Both(Expression):
    def __init__(self, left: Expression, right: Expression, how: Callable[[Any], bool]) -> None:
        self.left = left
        self.right = right
        self.how = how

    def holds(self, document: Any) -> bool:
        return self.how(side.holds(document) for side in (self.left, self.right))


class Not(Expression):
    def __init__(self, inner: Expression) -> None:
        self.inner = inner

    def holds(self, document: Any) -> bool:
        return not self.inner.holds(document)


class Comparison(Expression):
    def __init__(self, path: tuple[str, ...], compare: Callable[[Any, Any], Any], value: Any) -> None:
        self.path = path
        self.compare = compare
        self.value = value

    def holds(self, document: Any) -> bool:
        found = document
        for name in self.path:
            found = getattr(found, name, None)
        if found is None and self.compare not in (operator.eq, operator.ne):
            return False
        try:
            return bool(self.compare(found, self.value))
        except TypeError as error:
            raise BadFilterError(f"{'.'.join(self.path)} cannot be compared with {self.value!r}") from error


class ExpressionField(Expression):
    """A field of a model class."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, model: Any, path: tuple[str, ...]) -> None:
        self._model = model
        self._path = path

    @property
    def field_name(self) -> str:
        return ".".join(self._path)

    def __getattr__(self, name: str) -> ExpressionField:
        model = self.__dict__.get("_model")
        if name.startswith("_") or model is None or name not in model.model_fields:
            raise AttributeError(name)
        return expression_of(model, name, self._path)

    def __eq__(self, value: object) -> Any:
        return Comparison(self._path, operator.eq, value)

    def __ne__(self, value: object) -> Any:
        return Comparison(self._path, operator.ne, value)

    def __lt__(self, value: Any) -> Expression:
        return Comparison(self._path, operator.lt, value)

    def __le__(self, value: Any) -> Expression:
        return Comparison(self._path, operator.le, value)

    def __gt__(self, value: Any) -> Expression:
        return Comparison(self._path, operator.gt, value)

    def __ge__(self, value: Any) -> Expression:
        return Comparison(self._path, operator.ge, value)


def expression_of(model: Any, name: str, above: tuple[str, ...] = ()) -> ExpressionField:
    from pydantic import BaseModel

    info = model.model_fields.get(name)
    if info is None:
        raise AttributeError(name)
    inner = info.annotation
    is_model = isinstance(inner, type) and issubclass(inner, BaseModel)
    return ExpressionField(inner if is_model else None, (*above, name))
