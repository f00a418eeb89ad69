"""mypy and pyright pass on the listings of the product document, and on a program that uses the types.

What awaits at the top of a file is put into a function. What is switched off for the listings, and why:
they write `x: datetime = None`; and pyright, which has no plugins, does not know that a `list[str]` of a
model has `aappend`."""

import asyncio
import subprocess
import sys
import textwrap

import pytest

from listings import blocks, document

BLOCKS = blocks(document()) if document() else []
HEAD = (
    "from rapyerd import AtomicRedisModel\nfrom pydantic import BaseModel, Field\n"
    "from typing import Any, Dict, List\nfrom datetime import datetime\n"
)
# What blocks use and do not define, as in test_listings.py; block 12 defines a class twice.
AROUND = {9: (2,), 11: (6,), 12: (2, 7), 13: (), 14: ()}
PERSON = (
    "class Bio(AtomicRedisModel):\n    bio: str = ''\n    tags: List[str] = []\n"
    "class Times(AtomicRedisModel):\n    last_profile_update: datetime = datetime.now()\n"
    "    last_update: datetime = datetime.now()\n"
    "class Person(AtomicRedisModel):\n    profile: Bio = Bio()\n    settings: Times = Times()\n"
    "user = Person()\n"
)

# What a program has to write for pyright to know all of it: nothing is switched off for it.
CLEAN = """
from rapyerd import AtomicRedisModel, Index, Key, sync, where
from rapyerd.sync import find
from rapyerd.types import ForeignKey, RedisDict, RedisInt, RedisList, RedisSet

class Product(AtomicRedisModel):
    sku: Key[str]
    stock: RedisInt = RedisInt(0)

class Cart(AtomicRedisModel):
    best: ForeignKey[Product]
    status: Index[str] = "open"
    skus: RedisList[str] = RedisList()
    counts: RedisDict[int] = RedisDict()
    seen: RedisSet[str] = RedisSet()

class Remark(sync.AtomicRedisModel):
    text: str = ""
    marks: dict[str, int] = {}

async def wait() -> tuple[str, str]:
    product = Product(sku="tea")
    await product.save()
    cart = Cart(best=ForeignKey[Product](product))
    await cart.save()
    await product.stock.increase(2)
    await cart.skus.aappend("tea")
    await cart.counts.aset_item("tea", 1)
    await cart.seen.aadd("ada")
    product.stock += 1
    found = await Cart.find(Cart.status == "open", where(Cart.status).in_(["open"]), sort="-status")
    await Cart.update_many(Cart.status == "open", status="shut")
    return cart.pk, (await found[0].best.afetch()).sku + (await Cart.get(cart.pk)).status

def block(pk: str) -> int:
    note = Remark(text="x").save()
    with note.lock("read") as locked:
        locked.marks["a"] = 1
    for other in Remark.find(Remark.text == "x"):
        other.aupdate(text="y")
    for any_of_them in find(note.key):
        print(any_of_them.text)
    sync.twin(Cart).get(pk).counts.aset_item("a", 1)
    first = Remark.find_one(Remark.text == "y")
    return Remark.find_count() + len(Remark.get(note.key).text) + (first.marks["a"] if first else 0)
"""


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def write(directory):
    for number, block in enumerate(BLOCKS, 1):
        before = "".join(BLOCKS[other - 1] for other in AROUND.get(number, ()))
        if number in (13, 14):
            before = PERSON
        source = (before + block).replace("from rapyer import", "from rapyerd import")
        source = "async def listing() -> None:\n" + textwrap.indent(source, "    ")
        (directory / f"block_{number:02}.py").write_text(HEAD + source)
    (directory / "clean.py").write_text(CLEAN)
    (directory / "use.py").write_text(
        HEAD + "class User(AtomicRedisModel):\n    tags: List[str] = []\n    counts: Dict[str, int] = {}\n"
        "    n: int = 0\n    seen: datetime = datetime.now()\n"
        "async def use() -> None:\n"
        "    user = await User.get('1')\n"
        "    reveal_type(user)\n"
        "    reveal_type(user.tags)\n"
        "    reveal_type(await user.n.increase())\n"
        "    user.n = 5\n    user.n += 1\n"
        "    async with user.lock() as locked:\n"
        "        reveal_type(locked)\n"
        "    await user.tags.aappend(7)\n"
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("types")
    write(directory)
    return directory


def test_mypy(written):
    (written / "mypy.ini").write_text(
        "[mypy]\nplugins = rapyerd.mypy\ndisable_error_code = assignment, no-redef\n"
    )
    # A program sees the package as an installed one, which says itself that it is typed.
    _, said = run(sys.executable, "-m", "mypy", "--cache-dir", str(written / "cache"), ".", cwd=written)
    lines = [line for line in said.splitlines() if ": error:" in line]
    # Rightly told: four listings make a default of a class that has fields without one.
    lines = [line for line in lines if 'Argument "default_factory" to "Field"' not in line]
    assert [line for line in lines if line.startswith("block_")] == [], said
    assert 'Revealed type is "use.User"' in said
    assert "rapyerd.lists.RedisList[" in said
    (wrong,) = lines
    assert wrong.startswith("use.py") and 'incompatible type "int"; expected "str"' in wrong


def test_pyright(written):
    off = ["reportAttributeAccessIssue", "reportAssignmentType", "reportArgumentType", "reportRedeclaration"]
    off += ["reportGeneralTypeIssues", "reportCallIssue", "reportOptionalMemberAccess"]
    rules = ", ".join(f'"{rule}": "none"' for rule in off)
    (written / "pyrightconfig.json").write_text(f'{{"include": ["block_*.py"], {rules}}}')
    code, said = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, cwd=written)
    if BLOCKS:
        assert code == 0, said


def test_pyright_of_what_is_annotated(written, tmp_path):
    (tmp_path / "clean.py").write_text(CLEAN)
    code, said = run(
        sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "clean.py", cwd=tmp_path
    )
    assert code == 0, said


def test_what_is_annotated_runs(daemon):
    names: dict = {}
    exec(compile(CLEAN, "clean.py", "exec"), names)
    pk, said = asyncio.run(names["wait"]())
    assert said == "teashut"
    assert names["block"](pk) == 3
