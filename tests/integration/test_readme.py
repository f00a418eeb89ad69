"""The tour of README.md: its commands say what it shows.

    ```console              commands, each behind "$ ", and below it what it prints
    ```json models.json     a file that is written before the commands below it are run

The commands are run by one shell, as somebody would type them, in a directory that looks like the
repository's. To write down what they print today: python3 test_readme.py, then look at the
difference.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from daemon_process import REPOSITORY, binary

README = Path(REPOSITORY) / "README.md"
FENCE = re.compile(r"^```(\w*) ?([\w.]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END = "-- end of command --"


def tour(text):
    """("file", name, content) and ("run", command, output), in order."""
    steps = []
    for language, name, content in FENCE.findall(text):
        if name:
            steps.append(("file", name, content))
        elif language == "console":
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                steps.append(("run", command, output))
    return steps


def sanitized(build):
    cache = Path(build, "CMakeCache.txt").read_text(encoding="utf-8")
    return re.search(r"^RAPYER_SANITIZE:\w+=ON$", cache, re.MULTILINE)


def script(steps, build, directory):
    """What the shell is given. Behind a command that goes to the background it waits for the socket,
    and until it has written something into its file; a library with sanitizers needs programs that
    have them; and redis-cli prints for people although nobody looks."""
    lines = ["exec 2>&1", "set -m", "redis-cli() { command redis-cli --no-raw \"$@\"; }",
             "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT"]
    if sanitized(build):
        lines.append("cc() { command cc -fsanitize=address,undefined \"$@\"; }")
    for kind, first, second in steps:
        if kind == "file":
            lines.append(f"printf %s {shlex.quote(second)} >{first}")
            continue
        lines.append(first.replace("/tmp/tour", f"{directory}/tour"))
        if first.endswith("&"):
            file = re.search(r">(\S+) &$", first)[1]
            lines.append(f'until [ -s {file} ] || [ -z "$(jobs -r)" ]; do sleep 0.02; done')
            lines.append('until [ -S "$RAPYER_SOCKET" ] || [ -z "$(jobs -r)" ]; do sleep 0.02; done')
        lines.append(f"echo '{END}'")
    return "\n".join(lines) + "\n"


def run_tour(text, directory):
    """What each command printed."""
    steps = tour(text)
    build = Path(binary()).parents[1]
    os.mkdir(f"{directory}/build")
    os.symlink(build, f"{directory}/build/release")
    os.symlink(f"{REPOSITORY}/client", f"{directory}/client")
    done = subprocess.run(["bash", "--norc"], input=script(steps, build, directory), text=True,
                          stdout=subprocess.PIPE, cwd=directory, timeout=120, check=False)
    printed = done.stdout.split(END + "\n")
    return [step for step in steps if step[0] == "run"], printed


def plain(text):
    """Without what is another each time: random pks, versions, which begin at the time, and what the
    shell says of a job that has ended, if it has heard of it by then."""
    text = re.sub(r"^\[\d+\][-+ ]+\s*(Terminated|Done).*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", text)
    return re.sub(r"\b1[0-9]{15}\b", "<version>", text)


def test_the_tour_prints_what_it_shows(workdir):
    commands, printed = run_tour(README.read_text(encoding="utf-8"), workdir)
    assert len(commands) > 15
    assert len(printed) == len(commands) + 1, printed[-1]
    for (_, command, shown), output in zip(commands, printed):
        assert plain(output) == plain(shown), command


def rewrite(text, directory):
    commands, printed = run_tour(text, directory)
    for (_, command, shown), output in zip(commands, printed):
        text = text.replace(f"$ {command}\n{shown}", f"$ {command}\n{output}", 1)
    return text


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else README
    with tempfile.TemporaryDirectory(prefix="rapyer-", dir="/tmp") as place:
        target.write_text(rewrite(target.read_text(encoding="utf-8"), place), encoding="utf-8")
