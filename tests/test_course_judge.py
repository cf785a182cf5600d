"""The four verdicts, on a small exercise of its own: double a number."""

import numpy as np
import pytest

from tinyopt import nn, optim
from tinyopt.course.declare import exercise, task
from tinyopt.course.judge import Ex, judge
from tinyopt.course.compare import Wrong, same


def double(x):
    """The reference."""
    return 2 * x


DOUBLE = exercise("99.1", double, proves="Twice is twice.")


@task("99.1", points=2, hints=["Add it to itself."])
def values(ex):
    """Each number is doubled.

    This line is for authors.
    """
    for x in (3.0, np.array([1.0, -2.0])):
        same(ex(x), ex.reference(x), "the double")


@task("99.1")
def form(ex):
    """A sum of doubles is the double of the sum."""
    assert ex(1.0) + ex(2.0) == ex(3.0)


class TestNotWritten:
    def dots(x): ...
    def only_pass(x):
        pass

    def docstring(x):
        """Double it."""

    def explicit(x):
        return None

    def returned(x):
        return ...

    def in_a_pair(x):
        return x, ...

    def calculated(x):
        return 2 * ...

    def in_an_array(x):
        return np.array([..., x])

    blanks = [dots, only_pass, docstring, explicit, returned, in_a_pair, calculated, in_an_array, None]

    @pytest.mark.parametrize("blank", blanks)
    def test_blanks_of_every_kind(self, blank):
        verdict = judge(DOUBLE, blank)
        assert verdict.kind == "not written yet" and not verdict
        assert "Traceback" not in repr(verdict) and 'hint("99.1")' in repr(verdict)


def test_a_right_answer_says_what_was_proved():
    verdict = judge(DOUBLE, lambda x: x + x)
    assert verdict and verdict.kind == "right"
    assert repr(verdict).splitlines()[:2] == ["✓ 99.1 double: right (3 points)", "  Twice is twice."]


def test_a_wrong_answer_names_property_mistake_and_numbers():
    lines = repr(judge(DOUBLE, lambda x: x / 2)).splitlines()
    assert lines == [
        "✗ 99.1 double: wrong",
        "  should hold  Each number is doubled.",
        "  The double is wrong. It is 0.25 times what is due.",
        "  yours        1.5",
        "  due          6",
        '  Stuck? hint("99.1")',
    ]


def test_a_forgotten_return_is_named():
    def forgetful(x):
        x * 2

    assert "Is a `return` missing?" in repr(judge(DOUBLE, forgetful))


def test_calling_the_package_is_no_answer():
    verdict = judge(DOUBLE, lambda x: double(x))
    assert verdict.kind == "wrong" and "the package's own double" in repr(verdict)
    assert double(2) == 4


def _student(source):
    """A function as a notebook defines it: with names of its own."""
    names = {"np": np, "double": None}
    exec(compile(source, "a cell", "exec"), names)
    return names["double"]


def test_an_exception_shows_the_students_own_frames_only():
    verdict = judge(
        DOUBLE, _student("def helper(x):\n    return x.nonsense\ndef double(x):\n    return helper(x)")
    )
    assert verdict.kind == "raised" and "no attribute 'nonsense'" in verdict.says
    assert [(name, line) for name, line, _ in verdict.frames] == [("double", 4), ("helper", 2)]
    assert "judge.py" not in repr(verdict) and "Traceback" not in repr(verdict)


def test_endless_recursion_is_folded_and_explained():
    verdict = judge(DOUBLE, _student("def double(x):\n    return double(x)"))
    assert verdict.kind == "raised" and "Use a loop" in verdict.says
    assert len(verdict.frames) == 7


def test_frozen_arrays_are_explained():
    def frozen(ex):
        """No array is changed."""
        x = np.ones(2)
        x.setflags(write=False)
        ex(x)

    exercise("99.2", double, proves="-")
    marked = task("99.2")(frozen)
    verdict = judge(marked.exercise, _student("def double(x):\n    x *= 2\n    return x"))
    assert verdict.kind == "raised" and "frozen" in verdict.says


def test_what_the_tests_cannot_use_is_wrong_not_raised():
    verdict = judge(DOUBLE, lambda x: "text" if np.shape(x) else 6.0)
    assert verdict.kind == "wrong" and "of type str" in verdict.says


@pytest.mark.parametrize(
    "result, says",
    [
        (np.ones(2), "one ndarray"),
        ((np.ones(2), lambda g: g), "A comma makes a tuple of one"),
        ((np.ones(2), (np.ones(2),)), "A pullback is a function of g"),
        ((np.ones(2), (len, len)), "one pullback for each array"),
    ],
)
def test_rules_of_another_form_are_explained(result, says):
    from tinyopt.course.judge import Ex

    with pytest.raises(Wrong) as caught:
        Ex(DOUBLE, lambda x: result).rule(np.ones(2))
    assert says in str(caught.value)


def test_html_says_the_same_and_is_escaped():
    verdict = judge(DOUBLE, _student("def double(x):\n    return x.nonsense"))
    page = verdict._repr_html_()
    assert "double, line 2" in page and "should hold" in page and "99.1 double: raised" in page
    assert "<b>bold" not in judge(DOUBLE, lambda x: "<b>bold")._repr_html_()


def test_declarations_are_checked():
    with pytest.raises(ValueError, match="LESSON.NUMBER"):
        exercise("one", double, proves="-")
    with pytest.raises(KeyError, match="declare it above"):
        task("98.7")(values)
    with pytest.raises(TypeError, match="docstring"):
        task("99.1")(lambda ex: None)


def test_a_method_and_its_reference_run_inside_the_engine():
    gd = exercise("99.5", optim.GD.update, name="gd_step", proves="-")

    def gd_step(self, theta, g, state, t):
        return theta + self.lr * g

    for function, due in ((None, 0.9), (gd_step, 1.1)):
        ex, weight = Ex(gd, function), nn.Parameter(np.array([1.0]))
        weight.grad = np.array([1.0])
        with ex.curtain.closed(), ex.installed():
            optim.GD([weight], lr=0.1).step()
        assert np.allclose(weight.data, due)


def test_what_nbgrader_leaves_in_a_cell_is_not_written_yet():
    def double(x):
        raise NotImplementedError

    verdict = judge(DOUBLE, double)
    assert verdict.kind == "not written yet" and "NotImplementedError is left" in verdict.says
