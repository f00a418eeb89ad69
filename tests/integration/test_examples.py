"""The examples of the C library: each runs against a daemon and a Redis of its own, and looks by
itself at what it has left there. A listing in C is to be no longer than twice the one in Python."""

import os
import re
import subprocess

import pytest

from daemon_process import REPOSITORY, binary

SOURCES = os.path.join(REPOSITORY, "client", "examples")
BEGIN, END = "/* listing */", "/* end of the listing */"

# Lines with code or a comment in the Python listing of the same name.
PYTHON_LINES = {
    "basic_nested": 32, "redis_enabled": 33, "deep_hierarchy": 38, "list_operations": 27,
    "dict_operations": 32, "pipeline_order": 40, "mixed_types": 32, "efficiency": 12,
    "memory_lazy": 9, "error_handling": 26, "best_practices_nesting": 13,
    "best_practices_pipeline": 7, "social_media": 37, "transfer_funds": 32, "like_post": 17,
    "best_practices_locks": 6}
NO_LISTING = {"async_libevent", "async_poll", "find", "locks", "models_in_models", "pipeline_blocks",
              "queries", "references", "sets_and_queues", "structs"}


def examples():
    return sorted(name[:-2] for name in os.listdir(SOURCES) if name.endswith(".c"))


def program(name):
    """In $RAPYER_BUILD, or the build that the daemon comes from."""
    build = os.environ.get("RAPYER_BUILD") or os.path.dirname(os.path.dirname(binary()))
    return os.path.join(build, "client", "examples", name)


def listing_lines(name):
    """Not blank ones, between the marks."""
    with open(os.path.join(SOURCES, name + ".c"), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    assert lines.count(BEGIN) == 1 and lines.count(END) == 1, f"{name}.c should have both marks"
    return sum(1 for line in lines[lines.index(BEGIN) + 1:lines.index(END)] if line)


@pytest.mark.parametrize("name", examples())
def test_example_leaves_in_redis_what_it_says(name, daemon, redis_server):
    env = dict(os.environ, RAPYER_SOCKET=daemon.socket, RAPYER_EXAMPLE_REDIS=redis_server.socket,
               ASAN_OPTIONS="detect_leaks=1")
    run = subprocess.run([program(name)], env=env, capture_output=True, text=True, timeout=60,
                         check=False)
    assert run.returncode == 0, f"{run.stdout}{run.stderr}"
    assert not run.stderr


def test_the_kinds_by_rapyerctl(daemon):
    """Each line of kinds.sh prints what stands behind it."""
    path = os.path.join(SOURCES, "kinds.sh")
    with open(path, encoding="utf-8") as file:
        expected = re.findall(r"#= (.*)", file.read())
    where = os.path.dirname(os.path.dirname(program("kinds")))
    env = dict(os.environ, RAPYER_SOCKET=daemon.socket, PATH=f"{where}:{os.environ['PATH']}")
    run = subprocess.run([path], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.splitlines() == expected
    assert (run.returncode, run.stderr) == (0, "")


def test_every_example_is_a_listing_or_says_why_not():
    assert set(examples()) == set(PYTHON_LINES) | NO_LISTING


@pytest.mark.parametrize("name", sorted(PYTHON_LINES))
def test_listing_is_at_most_twice_as_long_as_in_python(name):
    assert listing_lines(name) <= 2 * PYTHON_LINES[name]
