"""The examples run, as programs, each with its own assertions."""

import glob
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = sorted(glob.glob(os.path.join(HERE, "..", "examples", "*.py")))


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_example(daemon, path):
    out = run(path)
    if path.endswith("nested.py"):
        assert "by its handle" in out


def test_a_program_that_was_written_for_rapyer(daemon, tmp_path):
    script = tmp_path / "old.py"
    script.write_text(
        "import asyncio, sys\n"
        "from rapyer import *\n"
        "from rapyer.types import *\n"  # of which one submodule is called float
        "assert float('0.5') == 0.5\n"
        "from rapyer.errors import KeyNotFound\n"
        "from rapyer.fields import Key\n"
        "from rapyer.types import RedisInt\n"
        "class User(AtomicRedisModel):\n"
        "    name: Key[str]\n"
        "    visits: int = 0\n"
        "async def main():\n"
        "    user = User(name='ada')\n"
        "    await user.asave()\n"
        "    await user.visits.aincrease(2)\n"
        "    assert isinstance(user.visits, RedisInt)\n"
        "    try:\n"
        "        await User.aget('nobody')\n"
        "    except KeyNotFound:\n"
        "        print((await User.aget('ada')).visits, sys.argv[1:])\n"
        "asyncio.run(main())\n"
    )
    assert run("-m", "rapyerd", str(script), "x").split() == ["2", "['x']"]
