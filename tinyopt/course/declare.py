"""What a lesson's test files say: `exercise` names a function, `task` marks a test, `wrong` a wrong answer.

The tests are ordinary functions that take `ex` (see `judge.Ex`), so the same ones run in the notebook and
under pytest. A test's docstring is the property that it tests, in words that a student reads.
"""

from dataclasses import dataclass, field

EXERCISES = {}  # id -> Exercise, in the order of declaration


@dataclass(eq=False)
class Exercise:
    """One function for a student to write, and all that is known of it."""

    id: str
    name: str  # the function's name in the notebook
    reference: object  # the package's own function or op, or a function that asks the package
    target: object  # its plain function: of an op, the rule
    hides: tuple  # the plain functions that are out of reach while it is checked, the target among them
    proves: str
    tests: list = field(default_factory=list)

    @property
    def points(self):
        return sum(test.points for test in self.tests)

    @property
    def lesson(self):
        """The number of the lesson: 1 for exercise "1.2"."""
        return int(self.id.split(".")[0])


def exercise(id, reference, *, proves, hides=(), name=None):
    """Declare exercise `id`: write the function that the package has as `reference`.

    The notebook has it under the same name, or `name`: a method such as `Adam.update` needs one of its own.
    `proves` is the sentence that a right answer earns. While an answer is checked, the reference and every
    function in `hides` are out of reach: ops, functions and methods, but no closures.

    Raises: ValueError for an id that is not of the form "1.2".
    """
    if not all(part.isdecimal() for part in id.split(".")) or id.count(".") != 1:
        raise ValueError(f'an exercise is called LESSON.NUMBER, such as "1.2"; got {id!r}')
    target, *others = (getattr(function, "rule", function) for function in (reference, *hides))
    EXERCISES[id] = Exercise(id, name or reference.__name__, reference, target, (target, *others), proves)
    return EXERCISES[id]


def task(id, *, points=1, hints=()):
    """Mark a test of exercise `id`; tests run in the order in which they stand.

    Units:  points, for a grade; hints, sentences from gentle to nearly the answer.
    Raises: KeyError if the exercise is not declared above; TypeError for a test without a docstring.
    """

    def mark(test):
        if id not in EXERCISES:
            raise KeyError(f"there is no exercise {id!r}: declare it above its tests, exercise({id!r}, ...)")
        if not test.__doc__:
            raise TypeError(f"{test.__name__} needs a docstring: the property that it tests, as a sentence")
        test.exercise, test.points, test.hints = EXERCISES[id], points, tuple(hints)
        EXERCISES[id].tests.append(test)
        return test

    return mark


def wrong(id, *, says, blind=False):
    """Mark a stored wrong answer to exercise `id`; the verdict on it must contain the words `says`.

    `blind`: its author had the notebook, but had not read the tests. Each exercise needs one such.
    """

    def mark(function):
        function.mistake, function.blind = (id, says), blind
        return function

    return mark
