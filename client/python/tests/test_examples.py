"""The examples run, each with its own assertions; and as programs, as their readers run them."""

import glob
import importlib.util
import inspect
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = sorted(glob.glob(os.path.join(HERE, "..", "examples", "*.py")))


def load(path):
    spec = importlib.util.spec_from_file_location("example_" + os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
async def test_example(daemon, path):
    result = load(path).main()
    if inspect.isawaitable(result):
        await result


def test_an_example_is_a_program(daemon):
    (path,) = (path for path in EXAMPLES if path.endswith("/nested.py"))
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "by its handle" in done.stdout


def test_a_program_that_was_written_for_rapyer(daemon, tmp_path):
    script = tmp_path / "old.py"
    script.write_text(
        "import asyncio, sys\n"
        "from rapyer import AtomicRedisModel\n"
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
    done = subprocess.run(
        [sys.executable, "-m", "rapyerd", str(script), "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "['x']"]
