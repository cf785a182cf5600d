"""`lesson.py`, a Python file cut into cells: the source that notebooks are built from.

    # %% [markdown]                  text; each line begins with "# "
    # %%                             code
    # %% exercise="1.2"              the function that a student writes
    # %% check="1.2"                 its check

Between `# BEGIN SOLUTION` and `# END SOLUTION` stands what only the solved notebook has, and after a line
`# INSTEAD`, what the student's has in its place. An exercise without a solution is solved by the source of
the package's own function. This is the percent format of Jupytext, Spyder and VS Code.
"""

import inspect
import re
import textwrap
from dataclasses import dataclass

MARKS = BEGIN, INSTEAD, END = "# BEGIN SOLUTION", "# INSTEAD", "# END SOLUTION"
NEXT = {  # who sees the lines -> who sees those after a mark
    "both": {BEGIN: "solved"},
    "solved": {INSTEAD: "student", END: "both"},
    "student": {END: "both"},
}


@dataclass
class Cell:
    """One cell: `kind` is code or markdown; `options` is what stands behind the percent signs."""

    kind: str
    options: dict
    lines: list  # raw, solutions included

    def source(self, solved=False):
        """The cell's text in the solved or in the student's notebook."""
        seen_by = ("both", "solved" if solved else "student")
        lines = [line for line, who in _told_apart(self.lines) if who in seen_by]
        if self.kind == "markdown":
            lines = [line[2:] if line.startswith("# ") else line.lstrip("#") for line in lines]
        return "\n".join(lines).strip("\n")

    def solution(self):
        """The lines that only the solved notebook may have."""
        return [line for line, who in _told_apart(self.lines) if who == "solved"]


def read(path):
    """The cells of a file in percent format; what stands before the first is dropped."""
    cells = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# %%"):
            kind = "markdown" if "[markdown]" in line else "code"
            cells.append(Cell(kind, dict(re.findall(r'(\w+)="([^"]*)"', line)), []))
        elif cells:
            cells[-1].lines.append(line)
    return cells


def _told_apart(lines):
    """Yield each line but the marks, with who may see it: both, solved or student.

    Raises: ValueError for a mark out of order, or one that is missing.
    """
    who = "both"
    for line in lines:
        mark = line.strip()
        if mark not in MARKS:
            yield line, who
        elif mark not in NEXT[who]:
            raise ValueError(f"{mark!r} is out of order here; due is {' or '.join(NEXT[who])}")
        else:
            who = NEXT[who][mark]
    if who != "both":
        raise ValueError(f"{END!r} is missing at the end of a cell")


def source_of(function, name=None):
    """The source of a function, without decorators, and under another name if one is given."""
    function = getattr(function, "rule", function)
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def "))
    head = f"def {function.__name__}("
    return "\n".join(lines[start:]).replace(head, f"def {name}(" if name else head, 1)
