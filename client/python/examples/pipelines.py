"""Pipelines: all of it or nothing, in Redis and here."""

import asyncio

from rapyerd import AtomicRedisModel
from rapyerd.errors import OutOfRangeError


class Item(AtomicRedisModel):
    product: str
    quantity: int
    price: int


class Order(AtomicRedisModel):
    customer: str
    items: list[Item] = []
    notes: dict[str, str] = {}
    total: int = 0
    status: str = "draft"


async def place(order: Order, wanted: list[dict[str, object]]) -> None:
    async with order.pipeline() as pipelined:  # the same object
        for entry in wanted:
            item = Item(**entry)
            await pipelined.items.aappend(item)
            order.total += item.price * item.quantity
        order.notes["count"] = str(len(wanted))
        order.status = "confirmed"


async def main() -> Order:
    order = Order(customer="ada")
    await order.save()
    await place(order, [{"product": "tea", "quantity": 2, "price": 350}])
    assert (order.total, order.status) == (700, "confirmed")

    # What is refused, by the daemon or by an error of the program, has not happened.
    try:
        async with order.pipeline():
            order.status = "shipped"
            order.items[0].quantity *= 1 << 62
            order.items[0].quantity *= 1 << 62  # does not fit 64 bits
    except OutOfRangeError as error:
        print("refused:", error)
    assert (order.status, order.items[0].quantity) == ("confirmed", 2)
    assert await Order.get(order.key) == order
    return order


if __name__ == "__main__":
    print(asyncio.run(main()))
