"""What keeps the course honest: `python -m tinyopt.course COMMAND [N ...]`, which fails if anything is wrong.

build            write lesson.ipynb from lesson.py
check            the committed lesson.ipynb is what lesson.py builds, byte for byte
prove            for every exercise: the reference passes, the blank and all wrong answers fail
execute          run the notebook in a fresh kernel: --as blank, solved or student; --out keeps it
"""

import argparse
import sys
from pathlib import Path

from tinyopt.course import build, prove
from tinyopt.course.execute import KINDS, execute
from tinyopt.course.lessons import exercises, numbers

LIMIT = 60  # seconds that a lesson may take


def main(arguments=None):
    raw = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m tinyopt.course", description=__doc__, formatter_class=raw
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("lessons", nargs="*", type=int, help="lesson numbers; none is all")
    parser.add_argument("--as", dest="kind", choices=KINDS, default="solved", help="the notebook to execute")
    parser.add_argument("--out", type=Path, help="the folder for notebooks")
    options = parser.parse_args(arguments)
    try:
        return max([COMMANDS[options.command](number, options) for number in options.lessons or numbers()])
    except (OSError, ValueError) as problem:
        sys.exit(f"{parser.prog} {options.command}: {problem}")


def _build(number, options):
    print(build.write(number))
    return 0


def _check(number, options):
    current = build.is_current(number)
    old = "not what lesson.py builds; run: python -m tinyopt.course build"
    print(f"lesson {number}: lesson.ipynb is {'up to date' if current else old}")
    return 0 if current else 1


def _prove(number, options):
    problems = prove.prove(number)
    print(f"lesson {number}: {len(exercises(number))} exercises, {len(problems)} problems")
    print(*problems, sep="\n", end="\n" * bool(problems))
    return 1 if problems else 0


def _execute(number, options):
    notebook, seconds = execute(number, options.kind)
    print(f"lesson {number}, {options.kind}: {len(notebook.cells)} cells in {seconds:.1f} s")
    if options.out:
        import nbformat

        options.out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, options.out / f"{number:02}_{options.kind}.ipynb")
    return 0 if seconds <= LIMIT else 1


COMMANDS = {"build": _build, "check": _check, "prove": _prove, "execute": _execute}

if __name__ == "__main__":
    sys.exit(main())
