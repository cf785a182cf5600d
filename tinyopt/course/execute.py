"""Execute a lesson's notebook from first cell to last, in a fresh kernel, as a student's Jupyter does."""

import inspect
import json
import os
import time

from tinyopt.course import build, percent
from tinyopt.course.lessons import exercises, find, load, wrong_answers
from tinyopt.course.progress import OFF

KINDS = ("blank", "solved", "student")


def execute(number, kind="solved", timeout=300):
    """Run lesson `number` and return (executed notebook, seconds); needs the extra `lessons`.

    kind: "blank" is the committed notebook as it is; "solved" has all answers; "student" tries each
    exercise as a student would: blank, a wrong answer, a hint, the answer.

    Raises: nbclient's CellExecutionError if a cell raises; AssertionError if a check says what it should not.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.reads(build.build(number, solved=kind == "solved"), as_version=4)
    nbformat.validate(notebook)
    if kind == "student":
        notebook.cells = _tries(number, notebook.cells)
    start = time.perf_counter()
    quiet = ["--IPKernelApp.log_level=ERROR"]  # no warning that the kernel listens on this machine
    client = NotebookClient(notebook, timeout=timeout, kernel_name="python3", extra_arguments=quiet)
    client.execute(env={**os.environ, "TINYOPT_PROGRESS": OFF})  # nobody has solved anything here
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        due, text = cell.metadata.get("due"), _text(cell.get("outputs", []))
        if due and due not in text:
            raise AssertionError(f"{cell.source} should say {due!r}; it says {text}")
    return notebook, seconds


def _text(outputs):
    """What a cell printed and showed, as text."""
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)


def _tries(number, cells):
    """The student's notebook; behind each blank its wrong answers, a hint and the answer, each checked."""
    from nbformat.v4 import new_code_cell

    wrongs, known = wrong_answers(number), exercises(number)
    solved = dict(_answers(number))
    helpers = _helpers(load(find(number) / "wrong_answers.py"))
    result = [new_code_cell(percent.source_of(helper)) for helper in helpers]
    for cell in cells:
        result.append(cell)
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if grade_id.startswith("check-"):
            id = grade_id.removeprefix("check-").replace("-", ".")
            ask = f'check("{id}")'
            cell.metadata["due"] = "not written yet"
            for mistaken in wrongs[id]:
                result.append(new_code_cell(percent.source_of(mistaken, known[id].name)))
                result.append(new_code_cell(ask, metadata={"due": mistaken.mistake[1]}))
            result.append(new_code_cell(f'hint("{id}")', metadata={"due": "Hints for"}))
            result.append(new_code_cell(solved[id]))
            result.append(new_code_cell(ask, metadata={"due": ": right"}))
    return result


def _helpers(module):
    """The functions that the wrong answers call."""
    own = [f for f in vars(module).values() if inspect.isfunction(f) and f.__module__ == module.__name__]
    return [f for f in own if not hasattr(f, "mistake")]


def _answers(number):
    """The exercise cells of the solved notebook: id and source."""
    for cell in json.loads(build.build(number, solved=True))["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        if grade_id.startswith("exercise-"):
            yield grade_id.removeprefix("exercise-").replace("-", "."), "".join(cell["source"])
