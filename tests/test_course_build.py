"""The notebook is what lesson.py says: the same bytes every time, and never an answer in it."""

import json
import shutil

import nbformat
import pytest

from tinyopt.course import build, lessons, percent
from tinyopt.course.lessons import exercises, numbers

PERCENT = '''"""Not a cell."""

# %% [markdown]
# # Title
#
# Text.
# BEGIN SOLUTION
# The model answer.
# END SOLUTION

# %% exercise="9.1"
def f(x):
    # BEGIN SOLUTION
    return x + 1
    # INSTEAD
    ...
    # END SOLUTION

# %% check="9.1"
check("9.1")
'''


@pytest.fixture
def cells(tmp_path):
    (tmp_path / "lesson.py").write_text(PERCENT, encoding="utf-8")
    return percent.read(tmp_path / "lesson.py")


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A copy of lesson 1 that a test may spoil: spoil(old, new)."""
    folder = tmp_path / "01_autograd"
    shutil.copytree(lessons.find(1), folder)
    monkeypatch.setattr(build, "find", lambda number: folder)

    def spoil(old, new):
        text = (folder / "lesson.py").read_text(encoding="utf-8")
        assert old in text
        (folder / "lesson.py").write_text(text.replace(old, new), encoding="utf-8")

    return spoil


def test_cells_are_cut_and_options_read(cells):
    assert [(cell.kind, cell.options) for cell in cells] == [
        ("markdown", {}),
        ("code", {"exercise": "9.1"}),
        ("code", {"check": "9.1"}),
    ]


def test_student_and_solved_differ_by_the_solutions(cells):
    assert [cell.source() for cell in cells[:2]] == ["# Title\n\nText.", "def f(x):\n    ..."]
    assert [cell.source(solved=True) for cell in cells[:2]] == [
        "# Title\n\nText.\nThe model answer.",
        "def f(x):\n    return x + 1",
    ]
    assert cells[1].solution() == ["    return x + 1"]


@pytest.mark.parametrize(
    "lines",
    [["# END SOLUTION"], ["# INSTEAD"], ["# BEGIN SOLUTION"], ["# BEGIN SOLUTION", "# BEGIN SOLUTION"]],
)
def test_marks_out_of_order_are_refused(lines):
    with pytest.raises(ValueError, match="SOLUTION"):
        percent.Cell("code", {}, lines).source()


@pytest.mark.parametrize("number", numbers())
def test_the_committed_notebook_is_what_is_built(number):
    assert build.is_current(number)
    assert build.build(number) == build.build(number)


@pytest.mark.parametrize("number", numbers())
@pytest.mark.parametrize("solved", [False, True])
def test_notebooks_are_valid_and_carry_nbgraders_metadata(number, solved):
    notebook = nbformat.reads(build.build(number, solved), as_version=4)
    nbformat.validate(notebook)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    graded = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert len({each.grade_id for each in graded}) == len(graded) == 2 * len(exercises(number))
    assert all(each.schema_version == 3 and not each.task for each in graded)
    assert [each.points for each in graded if each.grade] == [e.points for e in exercises(number).values()]
    assert all(each.solution != each.grade == each.locked for each in graded)


def test_a_solution_left_in_the_text_is_refused(lesson):
    lesson("# ### Exercise 1.2", "# `y = np.maximum(x, 0)`\n#\n# y = np.maximum(x, 0)\n#\n# ### Exercise 1.2")
    with pytest.raises(ValueError, match=r"show an answer: 'y = np.maximum\(x, 0\)'"):
        build.build(1)


def test_a_solution_left_in_another_cell_is_refused(lesson):
    lesson('# %% check="1.4"', "# %%\ndL_dw = 2 * error * 2  # ∂L/∂e · x\n\n" + '# %% check="1.4"')
    with pytest.raises(ValueError, match="show an answer: 'dL_dw"):
        build.build(1)


def test_a_mark_left_in_the_notebook_is_refused(lesson):
    lesson("# ### Exercise 1.2", "# Here: BEGIN SOLUTION\n#\n# ### Exercise 1.2")
    with pytest.raises(ValueError, match="show an answer: 'Here: BEGIN SOLUTION'"):
        build.build(1)


def test_an_exercise_without_its_check_is_refused(lesson):
    lesson('# %% check="1.3"', "# %%")
    with pytest.raises(ValueError, match="cell check=... for each of"):
        build.build(1)


def test_ids_stay_when_other_cells_come(lesson):
    before = [cell["id"] for cell in json.loads(build.build(1))["cells"]]
    lesson("# %% [markdown]\n# ### Exercise 1.2", "# %%\n1 + 1\n\n# %% [markdown]\n# ### Exercise 1.2")
    after = [cell["id"] for cell in json.loads(build.build(1))["cells"]]
    assert len(set(after) - set(before)) <= 3 and len(set(before) - set(after)) <= 1
    assert not build.is_current(1)
    build.write(1)
    assert build.is_current(1)


def test_the_solved_notebook_takes_answers_from_the_package():
    texts = ["".join(cell["source"]) for cell in json.loads(build.build(1, solved=True))["cells"]]
    assert any(text.startswith("def relu(x):") and "np.maximum" in text for text in texts)
    assert any("**Answers.**" in text for text in texts)


def test_the_command_line_says_yes_or_no(lesson, capsys):
    from tinyopt.course.__main__ import main

    assert main(["check", "1"]) == 0 and "up to date" in capsys.readouterr().out
    lesson("# ### Exercise 1.2", "# ### The exercise 1.2")
    assert main(["check", "1"]) == 1 and "tinyopt.course build" in capsys.readouterr().out
    assert main(["build", "1"]) == 0 and main(["check", "1"]) == 0
    with pytest.raises(SystemExit, match="the lessons are .*; got 99"):
        main(["check", "99"])
