"""Instructions of a process, counted by callgrind: the same on every machine and under any load."""

import glob
import re
import subprocess


def prefix(path):
    """Words in front of a command; `path` is where its counts go to."""
    return ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={path}.%p"]


def control(process, *words):
    subprocess.run(["callgrind_control", *words, str(process.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def begin(process):
    control(process, "--instr=on")
    control(process, "--zero")


def end(path, process):
    """How many since `begin`."""
    before = set(glob.glob(f"{path}.{process.pid}.*"))
    control(process, "--dump")
    control(process, "--instr=off")
    dumped, = set(glob.glob(f"{path}.{process.pid}.*")) - before
    with open(dumped, encoding="utf-8") as file:
        return int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M).group(1))
