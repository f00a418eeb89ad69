"""A web application on shared carts, for gunicorn: `gunicorn --preload shop:application`."""

import os
from urllib.parse import parse_qs

from rapyerd.sync import AtomicRedisModel


class Cart(AtomicRedisModel):
    owner: str = ""
    items: dict[str, int] = {}
    total: int = 0


class Visits(AtomicRedisModel):
    n: int = 0


def carts():
    return [Cart(owner=str(number)) for number in range(4)]


# Before the workers are forked: each would inherit this connection.
VISITS = Visits()
VISITS.pk = "all"
VISITS.save()
CARTS = carts()
for number, cart in enumerate(CARTS):
    cart.pk = str(number)
    cart.save()


def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    pk, item = query["cart"][0], query["item"][0]
    VISITS.n.increase()
    with Cart.lock_from_key(f"Cart:{pk}", "change") as cart:
        assert cart.pk == pk
        cart.items[item] = cart.items.get(item, 0) + 1  # what only a lock makes right
        cart.total += 1
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
