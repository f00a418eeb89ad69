"""Locks: what is assigned inside is saved with the release, in one commit."""

import asyncio

from rapyerd import AtomicRedisModel


class Account(AtomicRedisModel):
    owner: str
    balance: int = 0
    history: list[dict[str, str]] = []


async def transfer(source: str, target: str, amount: int) -> bool:
    first, second = sorted((source, target))  # always in one order: no circle of waits
    async with Account.lock_from_key(first, "transfer") as a, Account.lock_from_key(second, "transfer") as b:
        giver, taker = (a, b) if a.key == source else (b, a)
        if giver.balance < amount:
            return False
        giver.balance -= amount
        taker.balance += amount
        giver.history.append({"to": taker.owner, "amount": str(amount)})
        taker.history.append({"from": giver.owner, "amount": str(amount)})
        return True


async def main() -> tuple[Account, Account]:
    ada, bob = Account(owner="ada", balance=100), Account(owner="bob")
    await ada.save()
    await bob.save()
    done = await asyncio.gather(*(transfer(ada.key, bob.key, 30) for _ in range(5)))
    assert sorted(done) == [False, False, True, True, True]
    await ada.load()
    await bob.load()
    assert (ada.balance, bob.balance) == (10, 90)
    assert len(ada.history) == len(bob.history) == 3
    return ada, bob


if __name__ == "__main__":
    print(asyncio.run(main()))
