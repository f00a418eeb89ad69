"""Builds the extension that reads in shared memory, where there is a C compiler; without it the package is
as good, and asks the daemon for each document.

    python hatch_build.py [FOLDER]

builds it into src/rapyerd (or FOLDER), for a package that is used from where it stands. With RAPYERD_PURE=1
none is built.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
NAME = "_shared.abi3.so"
FLAGS = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-D_GNU_SOURCE"]


def root() -> pathlib.Path:
    """Where protocol/ is: in a checkout, or beside this file in a source distribution."""
    return HERE if (HERE / "protocol" / "segment.c").exists() else HERE.parents[1]


def build(folder: pathlib.Path) -> pathlib.Path:
    """The extension. Raises OSError or CalledProcessError where it cannot be built."""
    sources = [HERE / "native" / "shared.c", *(root() / "protocol" / f"{n}.c" for n in ("segment", "cursor"))]
    out = folder / NAME
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    include = [f"-I{root()}", f"-I{sysconfig.get_path('include')}"]
    given = [
        flag for name in ("CFLAGS", "CPPFLAGS", "LDFLAGS") for flag in shlex.split(os.environ.get(name, ""))
    ]
    command = [*compiler, *FLAGS, *given, *include, "-o", str(out), *map(str, sources)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return out


def main() -> None:
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "src" / "rapyerd"
    try:
        print(build(folder))
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)


if __name__ == "__main__":
    main()
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class SharedHook(BuildHookInterface[Any]):
        """Puts the extension into the wheel, for all Pythons from 3.10 on."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if self.target_name != "wheel" or version == "editable" or os.environ.get("RAPYERD_PURE"):
                return
            place = pathlib.Path(tempfile.mkdtemp(prefix="rapyerd-"))
            try:
                out = build(place)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", None) or str(error)
                self.app.display_warning(f"without the extension for shared memory: {said}")
                return
            build_data["force_include"][str(out)] = f"rapyerd/{NAME}"
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"cp310-abi3-{platform}"
