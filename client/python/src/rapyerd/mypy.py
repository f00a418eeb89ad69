"""A plugin for mypy: the fields of models are what they are once they are touched.

    [mypy]
    plugins = rapyerd.mypy

Then ``user.tags.aappend("x")`` and ``user.visits.increase()`` are known for ``tags: list[str]`` and
``visits: int``. Other type checkers have no such plugins: annotate fields with `RedisList[str]` and
`RedisInt` for them.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.nodes import TypeInfo, Var
from mypy.plugin import AttributeContext, Plugin
from mypy.types import Instance, Type, get_proper_type

MODEL = "rapyerd.model.AtomicRedisModel"
MADE = {
    "builtins.int": "rapyerd.scalars.RedisInt",
    "builtins.float": "rapyerd.scalars.RedisFloat",
    "builtins.str": "rapyerd.scalars.RedisStr",
    "builtins.bytes": "rapyerd.scalars.RedisBytes",
    "datetime.datetime": "rapyerd.scalars.RedisDatetime",
    "decimal.Decimal": "rapyerd.scalars.RedisDecimal",
    "builtins.list": "rapyerd.lists.RedisList",
    "builtins.dict": "rapyerd.dicts.RedisDict",
    "builtins.set": "rapyerd.sets.RedisSet",
}


class RapyerdPlugin(Plugin):
    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        owner, _, name = fullname.rpartition(".")
        symbol = self.lookup_fully_qualified(owner)
        if symbol is None or not isinstance(symbol.node, TypeInfo) or not symbol.node.has_base(MODEL):
            return None
        found = symbol.node.get(name)
        if found is None or not isinstance(found.node, Var) or found.node.is_classvar:
            return None
        return self.touched

    def touched(self, context: AttributeContext) -> Type:
        """The type of a field when it is read."""
        found = get_proper_type(context.default_attr_type)
        if context.is_lvalue or not isinstance(found, Instance) or found.type.fullname not in MADE:
            return context.default_attr_type
        symbol = self.lookup_fully_qualified(MADE[found.type.fullname])
        if symbol is None or not isinstance(symbol.node, TypeInfo):
            return context.default_attr_type
        return Instance(symbol.node, found.args[1:] if found.type.fullname == "builtins.dict" else found.args)


def plugin(version: str) -> type[Plugin]:
    return RapyerdPlugin
