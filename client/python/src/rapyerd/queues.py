"""Priority queues: `RedisPriorityQueue[T]`, members with a number that says who is first.

The daemon keeps one as a dict: the member, as JSON, and its priority. Taking the first one out looks at
the queue and takes the member only if nobody has changed the document meanwhile, else it looks again: no
member is given out twice, and none before one that is ahead of it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Iterable
from typing import Any, Generic, TypeVar, get_args

from pydantic import TypeAdapter

from rapyerd.call import Call, Steps
from rapyerd.dicts import RedisDict
from rapyerd.errors import ConflictError
from rapyerd.kinds import SpecialFieldType
from rapyerd.place import field_path, key_of, live, root_of
from rapyerd.record import held

T = TypeVar("T")


@dataclasses.dataclass
class PriorityQueueItem(Generic[T]):
    value: T
    priority: float


class RedisPriorityQueue(RedisDict[float], SpecialFieldType, Generic[T]):
    """A priority queue that is the value of a field: the lowest priority is first, among equal ones the
    lowest text."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        def make(value: Any) -> Any:
            return value if isinstance(value, dict) else {}

        return core_schema.no_info_plain_validator_function(
            make, serialization=core_schema.plain_serializer_function_ser_schema(dict)
        )

    @property
    def _adapter(self) -> TypeAdapter[Any]:
        adapter: TypeAdapter[Any] | None = self.__dict__.get("_made_adapter")
        if adapter is None:
            arguments = get_args(self.__rapyer_codec__.source)
            adapter = self.__dict__["_made_adapter"] = TypeAdapter(arguments[0] if arguments else Any)
        return adapter

    def _text(self, value: Any) -> str:
        dumped = self._adapter.dump_python(self._adapter.validate_python(value), mode="json")
        return json.dumps(dumped, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def _member(self, text: str) -> Any:
        return self._adapter.validate_python(json.loads(text))

    def apush(self, value: T, priority: float) -> Awaitable[None]:
        """Adds a member, or gives it another priority."""
        return self._run(self._update({self._text(value): float(priority)}))  # type: ignore[no-any-return]

    def apush_many(self, items: Iterable[PriorityQueueItem[T]]) -> Awaitable[None]:
        """Adds several."""
        pairs = {self._text(item.value): float(item.priority) for item in items}
        return self._run(self._update(pairs))  # type: ignore[no-any-return]

    def apop(self) -> Awaitable[T | None]:  # type: ignore[override]
        """Takes the first one out; None when there is none."""
        return self._run(self._take_first())  # type: ignore[no-any-return]

    def apeek(self) -> Awaitable[T | None]:
        """The first one, which stays."""
        return self._run(self._peek())  # type: ignore[no-any-return]

    def asize(self) -> Awaitable[int]:
        """How many there are in the daemon."""
        return self._run(self._size())  # type: ignore[no-any-return]

    def aitems(self) -> Awaitable[list[PriorityQueueItem[T]]]:
        """All of them, in order."""
        return self._run(self._in_order())  # type: ignore[no-any-return]

    def aremove(self, value: T) -> Awaitable[bool]:
        """Removes a member; gives back whether it was there."""
        return self._run(self._del(self._text(value)))  # type: ignore[no-any-return]

    def _look(self) -> Steps[tuple[dict[str, float], int]]:
        """What is in the daemon, and the version of the document that it is of."""
        root = root_of(self.__rapyer_owner__)
        if not live(root):
            return dict(self), 0
        key = key_of(root)
        path = field_path(self.__rapyer_owner__, self.__rapyer_name__)
        link = next((lock.link for lock in held(key)), None)
        said = yield Call("doc.get", [key, {"paths": [path], "version": True}], (type(root),), True, link)
        return said.get(path, {}), said["@v"]

    def _take_first(self) -> Steps[Any]:
        root = root_of(self.__rapyer_owner__)
        while True:
            content, version = yield from self._look()
            if not content:
                return None
            first = min(content, key=lambda text: (content[text], text))
            if not live(root):
                dict.pop(self, first, None)
                return self._member(first)
            key = key_of(root)
            locks = held(key)
            options: dict[str, Any] = {"if_version": version}
            if locks:
                options["lock"] = [lock.token for lock in locks]
            path = field_path(self.__rapyer_owner__, self.__rapyer_name__)
            link = locks[0].link if locks else None
            try:
                yield Call("pipeline", [[["dict.pop", key, path, first]], options], (type(root),), link=link)
            except ConflictError:
                continue
            dict.pop(self, first, None)
            return self._member(first)

    def _peek(self) -> Steps[Any]:
        items = yield from self._in_order()
        return items[0].value if items else None

    def _size(self) -> Steps[int]:
        content, _ = yield from self._look()
        return len(content)

    def _in_order(self) -> Steps[list[PriorityQueueItem[Any]]]:
        content, _ = yield from self._look()
        texts = sorted(content, key=lambda text: (content[text], text))
        return [PriorityQueueItem(self._member(text), content[text]) for text in texts]
