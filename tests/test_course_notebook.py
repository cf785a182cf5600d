"""What a student calls: check, hint, reveal, yours; and every exercise of every lesson, proven."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

from tinyopt import Tensor, autograd, nn, ops
from tinyopt.course import prove, start
from tinyopt.course.lessons import exercises, find, home, numbers, wrong_answers
from tinyopt.course.percent import source_of


def right_relu(x):
    y = np.maximum(x, 0)
    return y, (lambda g: g * (y > 0),)


def wrong(id, name):
    return next(function for function in wrong_answers(1)[id] if function.__name__ == name)


@pytest.mark.parametrize("number", numbers())
def test_every_exercise_is_proven(number):
    assert prove.prove(number) == []


def test_the_proof_notices_what_is_amiss(monkeypatch):
    def relu(x):
        return right_relu(x)

    relu.mistake, relu.blind = ("1.2", "sign"), False
    few = {id: [] for id in exercises(1)}
    monkeypatch.setattr(prove, "wrong_answers", lambda number: few | {"1.2": [relu]})
    monkeypatch.setattr(prove, "blanks", lambda number: dict.fromkeys(few, right_relu))
    problems = "\n".join(prove.prove(1))
    assert "the verdict on relu should say 'sign'" in problems  # a right answer among the wrong ones
    assert "1.3: there should be 3 wrong answers or more; there are 0" in problems
    assert "1.2: one wrong answer should be of someone who has not read the tests" in problems
    assert "1.2: the blank should be 'not written yet' in test_relu_value; it is None" in problems
    monkeypatch.setattr(exercises(1)["1.2"], "target", wrong("1.2", "turned"))
    assert "1.2: the reference fails test_relu_pullback" in "\n".join(prove.prove(1))


def test_a_students_way_failed_hinted_solved():
    names = {}
    check, hint, reveal, yours = start(1, names)
    assert check("1.2").kind == "not written yet"
    names["relu"] = wrong("1.2", "turned")
    verdict = check("1.2")
    assert verdict.kind == "wrong" and "Every sign is turned" in repr(verdict)
    assert "central differences" in verdict.facts
    first = repr(hint("1.2"))
    assert "changes one y" in first and "np.maximum" not in first  # the failed test's own hints come first
    assert repr(hint("1.2")).startswith(first.splitlines()[0] + "\n" + first.splitlines()[1])
    names["relu"] = right_relu
    verdict = check(1.2)  # a number is understood too
    assert verdict and "Next: exercise 1.3" in repr(verdict)


def test_hints_end_with_the_source():
    check, hint, *_ = start(1, {})
    texts = [repr(hint("1.1")) for _ in range(4)]
    assert [text.count("\n") for text in texts] == [2, 3, 4, 4]
    assert 'reveal("1.1")' in texts[-1] and 'hint("1.1")' in texts[0]


def test_reveal_asks_once():
    _, _, reveal, _ = start(1, {})
    asked, shown = repr(reveal("1.2")), repr(reveal("1.2"))
    assert "once more" in asked and "np.maximum" not in asked
    assert inspect.getsource(ops.relu.rule).strip() in shown and "tinyopt.ops.elementwise" in shown
    assert "<pre" in reveal("1.2")._repr_html_()


def test_yours_runs_the_engine_on_what_is_right_and_on_the_package_otherwise(capsys):
    calls = []

    def relu(x):
        calls.append("relu")
        return right_relu(x)

    def unbroadcast(g, shape):
        calls.append("unbroadcast")
        return g

    check, _, _, yours = start(1, {"relu": relu, "unbroadcast": unbroadcast})
    bias = Tensor([1.0, -1.0], requires_grad=True)
    with yours("1.2", "1.3", "1.4"):
        calls.clear()
        (nn.ReLU()(Tensor(np.ones((3, 2), np.float32)) + bias)).sum().backward()
    assert calls == ["relu"] and np.array_equal(bias.grad, [3, 0])
    shown = capsys.readouterr().out
    assert "1.2 relu: yours" in shown and "1.3 unbroadcast: the package's own" in shown
    assert ops.relu.rule is not relu
    with yours("1.2"):
        assert check("1.2")  # also while it is installed


def test_what_is_solved_elsewhere_is_not_needed():
    """A wrong answer to one exercise leaves the check of another as it was."""
    names = {function.__name__: function for function in (right_relu,)}
    names |= {"relu": right_relu, "unbroadcast": wrong("1.3", "mean_of_uses"), "backpropagate": None}
    check, *_ = start(1, names)
    assert check("1.2") and not check("1.3")


def test_names_that_do_not_exist_are_answered_with_those_that_do():
    check, *_ = start(1, {})
    with pytest.raises(ValueError, match=r"exercises are 1.1, 1.2.*got '1.22'. Did you mean '1.2'"):
        check("1.22")
    with pytest.raises(ValueError, match="lessons are 0 arrays, 1 autograd.*got 77"):
        start(77)


def test_the_callers_names_are_found_without_being_passed():
    names = {}
    exec("from tinyopt.course import start\nrelu = 3\nverdict = start(1).check('1.2')", names)
    assert "a int, not a function" in repr(names["verdict"])


def test_under_nbgrader_all_but_a_right_answer_raises(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    check, *_ = start(1, {"relu": right_relu})
    assert check("1.2")
    with pytest.raises(AssertionError, match="1.1 predict: not written yet"):
        check("1.1")


def test_pytest_runs_the_same_tests_on_a_students_file(tmp_path):
    answer = tmp_path / "mine.py"
    answer.write_text("import numpy as np\n" + source_of(wrong("1.2", "turned"), "relu"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(home()), "-m", "task1_2"]
    ran = subprocess.run(
        [*command, "--answers", str(answer)],
        capture_output=True,
        encoding="utf-8",
        cwd=home().parent,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert "2 failed, 3 passed" in ran.stdout, ran.stdout + ran.stderr
    assert "Every sign is turned" in ran.stdout


def test_the_engine_is_whole_after_all_this():
    assert ops.relu.rule.__name__ == "relu" and autograd.unbroadcast.__module__ == "tinyopt.autograd"
    assert find(1).name == "01_autograd"
