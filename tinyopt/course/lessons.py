"""Where the lessons lie, and how their files are loaded.

In a checkout they are the folder `lessons/` beside the package; in an installed wheel, which is made from
that same folder, they are `tinyopt/lessons/`.
"""

import functools
import importlib.util
import re
from pathlib import Path

from tinyopt.codec.container import atomic_write
from tinyopt.course.declare import EXERCISES

PACKAGE = Path(__file__).parent.parent


def home():
    """The folder of the lessons.

    Raises: FileNotFoundError if there is none: the package was copied without its lessons.
    """
    for folder in (PACKAGE / "lessons", PACKAGE.parent / "lessons"):
        if any(folder.glob("[0-9][0-9]_*/lesson.py")):
            return folder
    raise FileNotFoundError(f"no lessons were found in {PACKAGE} or beside it; install tinyopt again")


def numbers():
    """The lessons there are: {1: folder of lesson 1, ...}, in order."""
    return {int(path.parent.name[:2]): path.parent for path in sorted(home().glob("[0-9][0-9]_*/lesson.py"))}


def find(number):
    """The folder of lesson `number`.

    Raises: ValueError that lists the lessons, if there is none of this number.
    """
    there = numbers()
    if number not in there:
        names = ", ".join(f"{n} {path.name[3:]}" for n, path in there.items())
        raise ValueError(f"the lessons are {names}; got {number!r}")
    return there[number]


def copy(number, folder):
    """Copy the notebook of lesson `number` into `folder`, to work on; return its path.

    Raises: FileExistsError if it is there already: it may hold a student's answers.
    """
    source = find(number)
    path = Path(folder) / f"{source.name}.ipynb"
    if path.exists():
        raise FileExistsError(f"{path} is there already, and may hold your answers; choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (source / "lesson.ipynb").read_bytes())
    return path


def about(number):
    """What a lesson says of itself: {"title": ..., "minutes": ..., "exercises": [ids]}."""
    text = (find(number) / "lesson.py").read_text(encoding="utf-8")
    title = re.search(r"^# # \d+ · (.+)$", text, re.MULTILINE)
    minutes = re.search(r"\*\*Time:\*\* about (\d+) minutes", text)
    return {
        "title": title.group(1),
        "minutes": int(minutes.group(1)),
        "exercises": re.findall(r'^# %% exercise="(.+)"$', text, re.MULTILINE),
    }


def exercises(number):
    """The exercises of a lesson, {id: Exercise}, from its `test_exercises.py`."""
    load(find(number) / "test_exercises.py")
    return {id: exercise for id, exercise in EXERCISES.items() if exercise.lesson == number}


def wrong_answers(number):
    """The stored wrong answers of a lesson, {id: [function, ...]}, from its `wrong_answers.py`."""
    found = vars(load(find(number) / "wrong_answers.py")).values()
    marked = [function for function in found if hasattr(function, "mistake")]
    return {id: [function for function in marked if function.mistake[0] == id] for id in exercises(number)}


@functools.lru_cache(maxsize=None)
def load(path):
    """Run a file of a lesson as a module, once."""
    spec = importlib.util.spec_from_file_location(f"lesson_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
