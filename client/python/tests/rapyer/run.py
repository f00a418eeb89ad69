"""Rapyer's own integration tests, on this package and the real daemon.

    build/python/bin/python client/python/tests/rapyer/run.py [pytest arguments]

Fetches Rapyer's source distribution from PyPI into build/rapyer-suite (nothing of it is kept in this
repository), puts `suite_conftest.py` in the place of its conftest files, and runs tests/integration. What
its fixtures and tests ask of a raw Redis client (exists, ttl, expire, persist, delete, ...) is answered by
the daemon. `remaining.txt` names those that do not pass, with the reasons. A run of all says which others
failed, and which of them passed.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

VERSION = "1.3.6"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
PLACE = ROOT / "build" / "rapyer-suite"


def fetch():
    source = PLACE / f"rapyer-{VERSION}"
    if not (source / "tests").is_dir():
        PLACE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "rapyer"]
        subprocess.run([*pip, "--dest", PLACE, f"rapyer=={VERSION}"], check=True)
        with tarfile.open(PLACE / f"rapyer-{VERSION}.tar.gz") as archive:
            members = [m for m in archive.getmembers() if "/tests/" in m.name or m.name.endswith("/tests")]
            archive.extractall(PLACE, members)
    suite = PLACE / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    shutil.copytree(source / "tests", suite / "tests")
    for theirs in (suite / "tests").rglob("conftest.py"):
        if theirs.parent.name in ("tests", "integration"):
            theirs.write_text("")
    shutil.copy(HERE / "suite_conftest.py", suite / "tests" / "integration" / "conftest.py")
    (suite / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
        "filterwarnings = ignore\naddopts = -p no:cacheprovider\n"
    )
    return suite


def main():
    suite = fetch()
    arguments = sys.argv[1:] or ["-q", "-n", "2", "tests/integration"]
    log = PLACE / "log"
    env = dict(os.environ)
    if "RAPYERD" in env:  # from here, not from where the suite is
        env["RAPYERD"] = os.path.abspath(env["RAPYERD"])
    with open(log, "w") as out:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-rfE",
                "--tb=short",
                "--continue-on-collection-errors",
                *arguments,
            ],
            cwd=suite,
            env=env,
            stdout=out,
            stderr=out,
            check=False,
        )
    text = log.read_text()
    failed = set(re.findall(r"^(?:FAILED|ERROR) (tests/\S+)", text, re.MULTILINE))
    named = {
        line
        for line in (HERE / "remaining.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    for name in sorted(failed - named):
        print(f"failed, and is not named: {name}")
    if not sys.argv[1:]:
        for name in sorted(named - failed):
            print(f"passed, and is named: {name}")
    print(text.rstrip().rpartition("\n")[2])
    print(f"all of it is in {log}")


main()
