"""`tinyopt lessons` and `tinyopt check` as a student meets them, and the file that keeps what was solved."""

import importlib.util
import json
import re

import pytest

from tinyopt import cli
from tinyopt.course import progress, start
from tinyopt.course.build import build
from tinyopt.course.lessons import about, exercises
from tinyopt.course.lessons import home as lessons_home
from tinyopt.course.lessons import numbers


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty folder to be in, and a progress file of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TINYOPT_PROGRESS", str(tmp_path / "kept" / "progress.json"))
    return tmp_path


def run(capsys, line):
    """(exit status, stdout, stderr) of one command."""
    try:
        status = cli.main(line.split())
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.mark.parametrize("number", numbers())
def test_each_lesson_says_what_it_is(number):
    facts = about(number)
    assert facts["title"] and 20 <= facts["minutes"] <= 240
    assert facts["exercises"] == list(exercises(number)) and len(facts["exercises"]) >= 3


def test_a_students_way(capsys):
    status, out, _ = run(capsys, "lessons start 1 work")
    assert status == 0 and "jupyter lab" in out and "01_autograd.ipynb" in out
    status, out, _ = run(capsys, "check 1 work/01_autograd.ipynb")
    assert status == 1 and out.count("not written yet") == 5 and "0 of 21 points" in out
    solved = build(1, solved=True)
    with open("work/01_autograd.ipynb", "w", encoding="utf-8") as file:
        file.write(solved)
    status, out, _ = run(capsys, "check 1.2 work/01_autograd.ipynb")
    assert status == 0 and out.count(": right") == 1 and "points" in out
    assert "1 of 5" in run(capsys, "lessons")[1]
    assert run(capsys, "check 1 work/01_autograd.ipynb")[0] == 0
    assert "5 of 5" in run(capsys, "lessons")[1]


def test_all_lessons_start_at_once_and_nothing_is_overwritten(capsys, home):
    mine = home / "01_autograd.ipynb"
    mine.write_text("my answers", encoding="utf-8")
    status, out, _ = run(capsys, "lessons start")
    assert status == 0 and "1 were there already" in out and mine.read_text() == "my answers"
    assert len(list(home.glob("*.ipynb"))) == len(numbers())


@pytest.mark.parametrize(
    "line, sentence",
    [
        ("lessons start 1", "is there already, and may hold your answers"),
        ("lessons start 99", "the lessons are "),
        ("lessons start work", "give a lesson's number, or all, before the folder; got 'work'"),
        ("lessons stop", "invalid choice: 'stop'"),
        ("lessons html", "DIR"),
        ("lessons html pages 99", "the lessons are "),
        ("lessons html 01_autograd.ipynb", "File exists"),
        ("check one 01_autograd.ipynb", "a lesson is a number, such as 9, and an exercise 9.2; got 'one'"),
        ("check 99 01_autograd.ipynb", "the lessons are "),
        ("check 1.9 01_autograd.ipynb", "the exercises of lesson 1 are 1.1, "),
        ("check 1 mine.py", "there is no file mine.py"),
        ("check 1 other.py", "defines none of the functions predict, relu, "),
    ],
)
def test_wrong_input_is_one_sentence(capsys, monkeypatch, home, line, sentence):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)  # as if Jupyter were installed
    (home / "01_autograd.ipynb").write_text("{}", encoding="utf-8")
    (home / "other.py").write_text("x = 1", encoding="utf-8")
    status, out, err = run(capsys, line)
    assert status == 2 and sentence in err and err.count("\n") == 1 and not out


def test_pages_need_jupyter_and_say_so(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    status, _, err = run(capsys, "lessons html pages")
    assert status == 2 and "pip install jupyter" in err


# --- the progress file ------------------------------------------------------------------------------




@pytest.fixture
def right():
    """`right()` checks a right answer to exercise 1.1."""
    check, *_ = start(1, {"predict": lambda: (8.0, 4.0, 12.0)})
    return lambda: check("1.1")


def test_a_right_answer_is_kept_once(right):
    assert progress.solved() == {}
    assert right()
    day = progress.solved()["1.1"]
    progress.where().write_text(json.dumps({"1.1": "2020-01-01"}), encoding="utf-8")
    assert right() and progress.solved() == {"1.1": "2020-01-01"} and day > "2026"


def test_a_damaged_file_is_named_and_costs_no_right_answer(capsys, home, right):
    progress.where().parent.mkdir()
    progress.where().write_text("[", encoding="utf-8")
    verdict = right()
    assert verdict and "is damaged; delete it" in repr(verdict)
    status, _, err = run(capsys, "lessons")
    assert status == 2 and "is damaged; delete it to begin anew" in err


def test_it_can_be_turned_off_or_lie_in_the_home_folder(monkeypatch, right):
    monkeypatch.setenv("TINYOPT_PROGRESS", "off")
    assert progress.where() is None and right() and progress.solved() == {}
    monkeypatch.delenv("TINYOPT_PROGRESS")
    assert progress.where().parts[-2:] == (".tinyopt", "progress.json")




def test_the_map_says_of_each_lesson_what_the_lesson_says():
    page = (lessons_home() / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\d+) · (.+?)\]", page, re.MULTILINE))
    assert sorted(map(int, rows)) == list(numbers())
    for number, folder in numbers().items():
        row = next(line for line in page.splitlines() if line.startswith(f"| [{number} · "))
        assert f"({folder.name}/lesson.ipynb)" in row and f"| {about(number)['minutes']} |" in row
