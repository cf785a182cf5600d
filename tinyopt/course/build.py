"""Build `lesson.ipynb` from `lesson.py`: without outputs, without answers, the same bytes every time.

A cell's id is a hash of what it says, so it stays when others come and go. Exercise cells carry
nbgrader's metadata, so an instructor can use the notebook there as it is.

Source: nbgrader, "nbgraderformat", v3.json (the metadata); nbformat 4.5 (cell ids).
"""

import ast
import hashlib
import json

from tinyopt.codec.container import atomic_write
from tinyopt.course import percent
from tinyopt.course.lessons import exercises, find

TELLING = 12  # characters; shorter lines of a solution, such as `return y`, may stand elsewhere too


def build(number, solved=False):
    """The notebook of lesson `number`, as text.

    Raises: ValueError if a mark or a line of a solution is left in the student's notebook, if a check is
            missing, or if the exercises in `lesson.py` are not those in `test_exercises.py`.
    """
    cells, known = percent.read(find(number) / "lesson.py"), exercises(number)
    for option in ("exercise", "check"):
        found = [cell.options[option] for cell in cells if option in cell.options]
        if found != list(known):
            raise ValueError(
                f"lesson {number} should have a cell {option}=... for each of {list(known)}; it has {found}"
            )
    texts = [_text(cell, known, solved) for cell in cells]
    if not solved:
        _refuse_answers(cells, texts, known)
    seen, built = {}, []
    for cell, text in zip(cells, texts):
        seen[text] = seen.get(text, 0) + 1
        digest = hashlib.sha256(f"{cell.kind}{seen[text]}{text}".encode()).hexdigest()
        built.append(_cell(cell, text, digest[:12], known))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": built, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write(number, path=None, solved=False):
    """Build the notebook of a lesson into a file: by default the committed one, `lesson.ipynb`."""
    path = path or find(number) / "lesson.ipynb"
    atomic_write(path, build(number, solved).encode("utf-8"))
    return path


def is_current(number):
    """True if the committed notebook is what `lesson.py` builds, byte for byte."""
    path = find(number) / "lesson.ipynb"
    return path.exists() and path.read_bytes() == build(number).encode("utf-8")


def _text(cell, known, solved):
    """What the cell says; an exercise without a solution of its own is solved by the package's source."""
    if solved and "exercise" in cell.options and not cell.solution():
        exercise = known[cell.options["exercise"]]
        return percent.source_of(exercise.reference, exercise.name)
    return cell.source(solved)


def _cell(cell, text, id, known):
    """One cell as nbformat 4.5 has it."""
    built = {"cell_type": cell.kind, "id": id, "metadata": {}, "source": text.splitlines(keepends=True)}
    if cell.kind == "code":
        built |= {"execution_count": None, "outputs": []}
    grader = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}
    if "exercise" in cell.options:
        name = cell.options["exercise"].replace(".", "-")
        built["metadata"]["nbgrader"] = grader | {"grade_id": f"exercise-{name}", "solution": True}
    elif "check" in cell.options:
        name, points = cell.options["check"].replace(".", "-"), known[cell.options["check"]].points
        built["metadata"]["nbgrader"] = grader | {
            "grade_id": f"check-{name}",
            "grade": True,
            "points": points,
        }
        built["metadata"]["nbgrader"]["locked"] = True
    return built


def _refuse_answers(cells, texts, known):
    """Raise ValueError if any line of any answer stands in the student's notebook."""
    secret = {line.strip().removeprefix("# ") for cell in cells for line in cell.solution()}
    for cell in cells:
        if "exercise" in cell.options and not cell.solution():
            secret |= _body(percent.source_of(known[cell.options["exercise"]].reference))
    secret = {line for line in secret if len(line) >= TELLING}
    for text in texts:
        for line in text.splitlines():
            if line.strip() in secret or any(mark.removeprefix("# ") in line for mark in percent.MARKS):
                raise ValueError(f"the student's notebook would show an answer: {line.strip()!r}")


def _body(source):
    """The lines of a function below its head and docstring."""
    function = ast.parse(source).body[0]
    first = function.body[1] if ast.get_docstring(function) else function.body[0]
    return {line.strip() for line in source.splitlines()[first.lineno - 1 :]}
