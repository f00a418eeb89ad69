"""What the documents name is there: settings, options, commands, functions, files, headings."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from daemon_process import REPOSITORY, binary

TEXTS = ["README.md", "docs/design.md", "protocol/PROTOCOL.md", "tests/README.md", "docs/operations.md",
         "docs/man/rapyerd.8", "docs/man/rapyerctl.1", "docs/man/librapyer.3"]
CTL = Path(binary()).parents[1] / "client" / "rapyerctl"


def read(name):
    return Path(REPOSITORY, name).read_text(encoding="utf-8").replace("\\-", "-")


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def settings():
    section, names = "", set()
    for line in output(binary(), "--print-sample").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif match := re.match(r"#(\w+) =", line):
            names.add(f"{section}.{match[1]}")
    return names


@pytest.mark.parametrize("name", TEXTS)
def test_settings_exist(name):
    known = settings()
    assert len(known) > 20
    sections = "|".join({setting.split(".")[0] for setting in known})
    named = set(re.findall(rf"(?<![/\w])(?:{sections})\.[a-z]+_[a-z_]+|redis\.redis", read(name)))
    assert named <= known, named - known


@pytest.mark.parametrize("name", TEXTS)
def test_functions_exist(name):
    header = read("client/include/rapyer.h")
    named = set(re.findall(r"\brapyer_[a-z_]+\b(?! *=)", read(name)))
    missing = {word for word in named if not re.search(rf"\b{word}\b", header)}
    assert not missing


@pytest.mark.parametrize("program,page", [(binary(), "rapyerd.8"), (CTL, "rapyerctl.1")],
                         ids=["rapyerd", "rapyerctl"])
def test_manual_has_all_options(program, page):
    text = read(f"docs/man/{page}")
    options = re.findall(r"--[a-z-]+", output(program, "--help"))
    assert len(options) >= 5
    assert [option for option in options if option not in text] == []


def test_manual_has_all_commands():
    text = read("docs/man/rapyerctl.1")
    commands = re.findall(r"^  ([a-z]+) ", output(CTL, "--help"), re.MULTILINE)
    assert len(commands) >= 14
    assert [c for c in commands if not re.search(rf'^\.BI? "?{c}\b', text, re.MULTILINE)] == []


@pytest.mark.parametrize("name", TEXTS[:4])
def test_files_and_headings_exist(name):
    text = read(name)
    headings = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= headings
    paths = re.findall(r"`((?:client|conf|daemon|docs|protocol|systemd|tests)/[\w./-]*)`", text)
    assert [path for path in paths if not os.path.exists(os.path.join(REPOSITORY, path))] == []


def test_manual_has_all_settings():
    text = read("docs/man/rapyerd.8")
    assert [name for name in settings() if name not in text] == []


def test_design_has_all_parts():
    """Of each folder a row of its table names what is there: a file, or what several begin with."""
    rows = dict(re.findall(r"^\| `((?:protocol|daemon/\w+)/)` \| (.*) \|", read("docs/design.md"), re.M))
    folders = [f"{path.relative_to(REPOSITORY)}/" for path in Path(REPOSITORY, "daemon").iterdir() if path.is_dir()]
    assert set(rows) == {"protocol/", *folders}
    for folder, text in rows.items():
        words = {word.rstrip("_*") for word in re.findall(r"\w+\*?", text)}
        headers = {path.stem for path in Path(REPOSITORY, folder).glob("*.h")}
        assert {h for h in headers if h not in words and h.split("_")[0] not in words} == set(), folder


def test_each_file_of_tests_has_its_place():
    text = read("tests/README.md")
    named = set(re.findall(r"`test(_\w+)(?:\.py)?`|`(_\w+)`", text))
    files = {path.stem for path in Path(REPOSITORY, "tests", "integration").glob("test_*.py")}
    said = {f"test{name}" for pair in named for name in pair if name}
    said |= {f"test_locks{name}" for _, name in named if name}
    assert files - said == set()


def shown():
    """Of each test that names promises: which."""
    named = {}
    for path in Path(REPOSITORY, "tests", "integration").glob("test_*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = isinstance(function, ast.FunctionDef) and ast.get_docstring(function)
            if text and (match := re.search(r"\bShows (C\d+(?:, C\d+)*)\.", text)):
                named[function.name] = set(match[1].split(", "))
    return named


def test_each_promise_between_hosts_is_shown():
    promised = set(re.findall(r"^\| (C\d+) \|", read("protocol/PROTOCOL.md"), re.M))
    tests = shown()
    assert len(promised) > 10 and set.union(*tests.values()) == promised
    rows = re.findall(r"^\| (C\d+(?:, C\d+)*) \| .* \| ([^|]*) \|$", read("docs/design.md"), re.M)
    assert {name for names, _ in rows for name in names.split(", ")} == promised
    for names, of in rows:
        shown_there = set.union(*(tests[test] for test in re.findall(r"`(test_\w+)`", of)))
        assert set(names.split(", ")) <= shown_there, names


@pytest.mark.parametrize("name", ["test_coherence.py", "test_two_daemons.py", "test_deadlines.py"])
def test_each_test_of_several_hosts_names_what_it_shows(name):
    text = Path(REPOSITORY, "tests", "integration", name).read_text(encoding="utf-8")
    assert set(re.findall(r"^def (test_\w+)", text, re.M)) <= set(shown())
