"""The same with blocking calls."""

from rapyerd.sync import AtomicRedisModel, find, pipeline


class Cart(AtomicRedisModel):
    owner: str
    items: dict[str, int] = {}
    changes: int = 0


def main() -> Cart:
    cart = Cart(owner="ada")
    cart.save()
    cart.items.aupdate(tea=1)
    with cart.lock("checkout"):
        cart.items["cake"] = 2
        cart.changes += 1
    with pipeline():
        cart.items["tea"] = 3
        cart.changes += 1
    (same,) = find(cart.key)
    assert same == cart
    assert same.items == {"tea": 3, "cake": 2} and same.changes == 2
    return cart


if __name__ == "__main__":
    print(main())
