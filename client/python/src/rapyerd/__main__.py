"""``python -m rapyerd script.py``: runs a program that was written for Rapyer."""

from __future__ import annotations

import runpy
import sys

from rapyerd.rapyer import install_as_rapyer


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(
            "usage: python -m rapyerd script.py [argument ...]\n"
            "       python -m rapyerd -m module [argument ...]"
        )
        return 0 if arguments else 2
    install_as_rapyer()
    if arguments[0] == "-m":
        if len(arguments) < 2:
            print("python -m rapyerd: -m wants the name of a module", file=sys.stderr)
            return 2
        sys.argv = arguments[1:]
        sys.path[0] = ""
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        import os

        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
