"""What a student calls in a notebook: `check`, `hint`, `reveal`, `yours`."""

import contextlib
import difflib
import inspect
import os
import sys
from typing import NamedTuple

from tinyopt.course import progress
from tinyopt.course.judge import judge
from tinyopt.course.lessons import exercises
from tinyopt.course.reach import installed
from tinyopt.course.verdict import Note

STYLE = {  # of all figures in lessons: plt.rcParams.update(STYLE)
    "figure.dpi": 100,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
}


class Helpers(NamedTuple):
    """The four functions: `check, hint, reveal, yours = start(1)`."""

    check: object
    hint: object
    reveal: object
    yours: object


def start(lesson, namespace=None):
    """Begin lesson number `lesson`: `check, hint, reveal, yours = start(1)`.

    Your functions are looked up in `namespace`, a dictionary: by default that of the caller, in a notebook
    all that its cells define.

    Raises: ValueError that lists the lessons, if there is none of this number.
    """
    desk = Desk(exercises(lesson), sys._getframe(1).f_globals if namespace is None else namespace)
    _draw_figures_once()
    return Helpers(desk.check, desk.hint, desk.reveal, desk.yours)


def _draw_figures_once():
    """In a notebook, show figures as they are laid out: to cut off blank edges, each would be drawn once more.

    Lessons lay all figures out by layout="constrained", which leaves none.
    """
    if "ipykernel" in sys.modules:
        with contextlib.suppress(ImportError):  # another notebook, another backend
            from matplotlib_inline.config import InlineBackend

            InlineBackend.instance().print_figure_kwargs = {"bbox_inches": None}


class Desk:
    """One student at one lesson: the exercises, the student's names, and which help was given."""

    def __init__(self, exercises, namespace):
        self.exercises, self.namespace = exercises, namespace
        self.shown = {id: [] for id in exercises}  # id -> the hints given so far
        self.failed = {}  # id -> the test that was failed last
        self.asked = set()  # ids whose source was asked for once

    def check(self, id):
        """Run the tests of exercise `id` on your function.

        Under nbgrader, which counts exceptions, all but a right answer raises AssertionError.
        """
        exercise = self._find(id)
        verdict = judge(exercise, self.namespace.get(exercise.name))
        self.failed[exercise.id] = verdict.test
        if os.environ.get("NBGRADER_EXECUTION"):
            if not verdict:
                raise AssertionError(repr(verdict))
        elif verdict:
            progress.note(verdict)
        return verdict

    def hint(self, id):
        """One more hint each time; those for the test that you failed last come first."""
        exercise = self._find(id)
        failed, shown = self.failed.get(exercise.id), self.shown[exercise.id]
        tests = sorted(
            exercise.tests, key=lambda test: test is not failed
        )  # stable: the rest keep their order
        left = [hint for test in tests for hint in test.hints if hint not in shown]
        shown += left[:1]
        more = f"{len(left) - 1} more: hint" if len(left) > 1 else "That was the last. The source: reveal"
        text = "\n".join(f"{number}. {hint}" for number, hint in enumerate(shown, 1))
        return Note(f"Hints for {exercise.id} {exercise.name}", text, f'{more}("{exercise.id}")')

    def reveal(self, id):
        """Ask whether you mean it; called once more, show the package's source."""
        exercise = self._find(id)
        if exercise.id not in self.asked:
            self.asked.add(exercise.id)
            left = sum(len(test.hints) for test in exercise.tests) - len(self.shown[exercise.id])
            unread = f"There are {left} hints that you have not read. " if left else ""
            sure = f'{unread}If you are sure, call reveal("{exercise.id}") once more.'
            return Note(f"Show the answer of {exercise.id} {exercise.name}?", sure)
        home = exercise.target.__module__
        title = f"{exercise.name}, from {home if home.startswith('tinyopt') else 'the tests of this lesson'}"
        source = inspect.getsource(exercise.target).strip()
        return Note(title, source, "Close it, and write it yourself.", code=True)

    @contextlib.contextmanager
    def yours(self, *ids):
        """Inside the `with`, the engine runs on your functions; on the package's where one is not right."""
        with contextlib.ExitStack() as stack:
            for id in ids:
                exercise = self._find(id)
                function = self.namespace.get(exercise.name)
                right = bool(judge(exercise, function))
                whose = "yours" if right else "the package's own, as yours is not right yet"
                print(f"{exercise.id} {exercise.name}: {whose}")
                if right:
                    stack.enter_context(installed(exercise.reference, function))
            yield

    def _find(self, id):
        """The exercise `id`, also if 1.2 was written as a number."""
        if str(id) not in self.exercises:
            near = difflib.get_close_matches(str(id), self.exercises, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"this lesson's exercises are {', '.join(self.exercises)}; got {id!r}.{guess}")
        return self.exercises[str(id)]
