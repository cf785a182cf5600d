"""What a student does on the command line: `tinyopt lessons`, `lessons start`, `lessons html`, `check`."""

import importlib.util
from pathlib import Path

from tinyopt.course import pages, progress
from tinyopt.course.answers import answers
from tinyopt.course.judge import judge
from tinyopt.course.lessons import about, copy, exercises, find, numbers
from tinyopt.measure.table import text_table


def listing():
    """The lessons: number, title, minutes, and how many of their exercises are solved."""
    done, rows = progress.solved(), []
    for number in numbers():
        facts = about(number)
        n_solved = sum(id in done for id in facts["exercises"])
        rows.append([number, facts["title"], facts["minutes"], f"{n_solved} of {len(facts['exercises'])}"])
    n_hours = sum(row[2] for row in rows) / 60
    kept = progress.where() or "nowhere: TINYOPT_PROGRESS is off"
    return "\n".join([
        text_table(["lesson", "title", "minutes", "solved"], rows, left=2),
        f"\nAbout {n_hours:.0f} hours in all. What you solve is kept in {kept}",
        "Begin: tinyopt lessons start 0        Read all of them: tinyopt lessons html pages",
    ])  # fmt: skip


def start(number, folder):
    """Copy a lesson, or "all", to work on; return what to say. Of all, those that are there already are kept.

    Raises: FileExistsError if the one lesson asked for is there already; ValueError for an unknown lesson.
    """
    if number != "all" and not number.isdecimal():
        raise ValueError(f"give a lesson's number, or all, before the folder; got {number!r}")
    chosen, kept, made = numbers() if number == "all" else [int(number)], [], []
    for each in chosen:
        try:
            made.append(copy(each, folder))
        except FileExistsError as problem:
            if number != "all":
                raise
            kept.append(problem)
    lines = [f"{path}" for path in made]
    if kept:
        lines.append(f"{len(kept)} were there already, and were left as they are")
    place = made[0] if len(made) == 1 else folder
    lines.append(f'open with: jupyter lab "{place}"    (or in VS Code)')
    if importlib.util.find_spec("jupyterlab") is None:
        lines.append("JupyterLab is not installed here: pip install jupyter")
    return "\n".join(lines)


def check(which, path):
    """Judge the answers in a notebook or .py file: the verdicts on lesson "9", or on exercise "9.2" alone.

    Raises: ValueError for an unknown lesson or exercise; OSError or ValueError for a file without answers.
    """
    lesson, _, _ = which.partition(".")
    if not lesson.isdecimal():
        raise ValueError(f"a lesson is a number, such as 9, and an exercise 9.2; got {which!r}")
    known = exercises(int(lesson))
    chosen = known if which == lesson else {which: known.get(which)}
    if None in chosen.values():
        raise ValueError(f"the exercises of lesson {lesson} are {', '.join(known)}; got {which!r}")
    given = answers(path, [exercise.name for exercise in chosen.values()])
    if not any(given.values()):
        names = ", ".join(exercise.name for exercise in chosen.values())
        raise ValueError(f"{path} defines none of the functions {names}; is it lesson {find(int(lesson)).name}?")
    verdicts = [judge(exercise, given[exercise.name]) for exercise in chosen.values()]
    for verdict in verdicts:
        if verdict:
            progress.note(verdict)
    return verdicts


def read(chosen, folder):
    """Execute lessons (all, if none is `chosen`) with their answers into web pages; yield a line on each.

    Raises: ImportError if Jupyter is not installed; OSError if the folder cannot be made.
    """
    for module in ("nbclient", "nbconvert"):
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"pages are made with Jupyter's {module}: pip install jupyter")
    chosen, folder = chosen or list(numbers()), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number in chosen:
        find(number)  # unknown ones are refused before the first is run
    for number in chosen:
        path, seconds = pages.write(number, folder)
        yield f"{path}  ({seconds:.0f} s)"
    yield f"{pages.write_index(chosen, folder)}  leads to {'it' if len(chosen) == 1 else 'them'}"
