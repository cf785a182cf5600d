"""Run the tests of an exercise on a function, and say what came of it: a `Verdict`."""

import dis
import linecache
import traceback

from tinyopt.course.compare import NotWritten, Wrong
from tinyopt.course.declare import EXERCISES
from tinyopt.course.reach import Curtain, OutOfReach, installed
from tinyopt.course.verdict import Verdict

# What a student meets in plain Python or NumPy, and what it means here: part of the message -> a sentence.
MEANINGS = {
    "read-only": "The engine's arrays are frozen, because other pullbacks still need them. Make a new array.",
    "has no attribute 'numpy'": "A rule is given plain NumPy arrays, not tensors.",
    "maximum recursion depth": "A deep graph has more ops than Python has levels of calls. Use a loop.",
}


class Ex:
    """What a test is given: `ex(...)` calls the answer.

    ex.rule(x, ...)        the answer as a rule: its value and its pullbacks, after a look at their form
    ex.reference(...)      the package's own function, which is out of reach everywhere else
    with ex.installed():   the whole engine runs on the answer
    """

    def __init__(self, exercise, function=None):
        self.exercise = exercise
        self.curtain = Curtain(exercise.hides)
        self.function = self.reference if function is None else function

    def reference(self, *args, **settings):
        """Call the package's own."""
        with self.curtain.lifted():
            return self.exercise.target(*args, **settings)

    def __call__(self, *args, **settings):
        result = self.function(*args, **settings)
        parts = result if isinstance(result, (tuple, list)) else (result,)
        if any(part is Ellipsis for part in parts):
            raise NotWritten
        if any(part is None for part in parts):
            raise Wrong(f"{self.exercise.name} gives None. Is a `return` missing?")
        return result

    def rule(self, *arrays, **settings):
        """Call the answer as a rule, (value, (pullback, ...)), and say so if it has another form."""
        form = "A rule returns two things: its value, and a tuple with one pullback for each array."
        due = {"due": "return y, (grad_x,)"}
        result = self(*arrays, **settings)
        if not isinstance(result, tuple) or len(result) != 2:
            raise Wrong(form, {"yours": f"one {type(result).__name__}"} | due)
        if callable(result[1]):
            raise Wrong(f"{form} A comma makes a tuple of one.", {"yours": "return y, (grad_x)"} | due)
        pullbacks = result[1] if isinstance(result[1], tuple) else (result[1],)
        if len(pullbacks) != len(arrays) or not all(map(callable, pullbacks)):
            raise Wrong(f"{form} A pullback is a function of g.", {"yours": repr(pullbacks)} | due)
        return result

    def installed(self):
        """Inside the `with`, the engine runs on the answer."""

        def answer(*args, **settings):  # a function of its own, so that it can become a method
            return self.function(*args, **settings)

        return installed(self.exercise.reference, answer)


def judge(exercise, function):
    """The verdict on a student's function, by the first test that it fails."""
    if not callable(function):
        found = "no function" if function is None else f"a {type(function).__name__}, not a function, called"
        says = f"There is {found} {exercise.name}. Run the cell that defines it."
        return Verdict("not written yet", exercise, says=says)
    ex = Ex(exercise, function)
    for test in exercise.tests:
        verdict = trial(test, ex)
        if verdict is not None:
            return verdict
    return Verdict("right", exercise, says=exercise.proves, after=next_exercise(exercise))


def trial(test, ex):
    """Run one test behind the curtain: None if it passes, else the verdict."""
    if _is_blank(ex.function):
        return Verdict("not written yet", ex.exercise, test, says="Its body is still empty.")
    try:
        with ex.curtain.closed():
            test(ex)
    except NotWritten:
        return Verdict("not written yet", ex.exercise, test, says="A `...` is left in it.")
    except NotImplementedError:  # what nbgrader puts into an empty cell
        return Verdict("not written yet", ex.exercise, test, says="A NotImplementedError is left in it.")
    except OutOfReach as problem:
        says = f"It calls the package's own {problem}: out of reach while {ex.exercise.id} is checked."
        return Verdict("wrong", ex.exercise, test, says=says)
    except Wrong as problem:
        return Verdict("wrong", ex.exercise, test, says=problem.says, facts=problem.facts)
    except Exception as problem:
        return _raised(test, ex, problem)
    return None


def _raised(test, ex, problem):
    """The verdict on an exception: the student's own frames, or if there are none the engine's sentence."""
    if "ellipsis" in str(problem).lower():
        return Verdict("not written yet", ex.exercise, test, says="A `...` is left in it.")
    home = getattr(ex.function, "__globals__", None)
    stack = traceback.walk_tb(problem.__traceback__)
    own = [(frame.f_code, line) for frame, line in stack if frame.f_globals is home]
    frames = [(code.co_name, line, linecache.getline(code.co_filename, line).strip()) for code, line in own]
    says = f"{type(problem).__name__}: {problem}"
    meaning = next((meaning for part, meaning in MEANINGS.items() if part in str(problem)), "")
    if not frames:
        return Verdict("wrong", ex.exercise, test, says=f"What it returned could not be used. {says}")
    return Verdict("raised", ex.exercise, test, says=f"{says}\n{meaning}".strip(), frames=_folded(frames))


def _folded(frames):
    """At most six frames, the first ones and the last: enough, also for endless recursion."""
    return frames if len(frames) <= 6 else [*frames[:3], ("...", 0, f"{len(frames) - 6} more"), *frames[-3:]]


def _is_blank(function):
    """True for a body of nothing but a docstring, `...` or `pass`."""
    code = getattr(function, "__code__", None)
    steps = list(dis.get_instructions(code)) if code is not None else []
    idle = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST"}
    given = [step.argval for step in steps if "CONST" in step.opname]
    return bool(steps) and {step.opname for step in steps} <= idle and set(given) <= {None, Ellipsis}


def next_exercise(exercise):
    """The exercise after this one in its lesson, or None."""
    ids = [id for id, other in EXERCISES.items() if other.lesson == exercise.lesson]
    place = ids.index(exercise.id) + 1
    return EXERCISES[ids[place]] if place < len(ids) else None
