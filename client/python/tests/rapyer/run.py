"""Rapyer's own integration tests, on this package and the real daemon.

    build/python/bin/python client/python/tests/rapyer/run.py [pytest arguments]

Fetches Rapyer's source distribution from PyPI into build/rapyer-suite (nothing of it is kept in this
repository), puts `suite_conftest.py` in the place of its conftest files, and runs tests/integration. What
its fixtures and tests ask of a raw Redis client (exists, ttl, expire, persist, delete, ...) is answered by
the daemon. The page docs/from-rapyer.md says how many pass, and why the others do not.
"""

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
            stdout=out,
            stderr=out,
            check=False,
        )
    text = log.read_text()
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    by_file = {}
    for name in failed:
        by_file[name.partition("::")[0]] = by_file.get(name.partition("::")[0], 0) + 1
    for name, count in sorted(by_file.items(), key=lambda pair: -pair[1]):
        print(f"{count:5} {name}")
    print(text.rstrip().rpartition("\n")[2])
    print(f"all of it is in {log}")


main()
