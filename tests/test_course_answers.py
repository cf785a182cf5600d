"""Out of a student's file come the functions asked for and what they need; nothing else of it is run."""

import json

import pytest

from tinyopt.course.answers import answers, definitions


def notebook(path, *cells):
    kinds = [{"cell_type": "markdown", "source": ["# relu"]}]
    kinds += [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in cells]
    path.write_text(json.dumps({"cells": kinds}), encoding="utf-8")
    return path


def test_a_function_is_found_with_all_that_it_needs_and_nothing_else():
    code = """
import math
import no_such_module
history = train_for_a_minute()
half = 2 / 4
def helper(x):
    return half * x
class Unused(no_such_module.Base):
    pass
def f(history):
    inner = lambda y: math.sin(helper(y))
    return inner(history)
"""
    assert definitions([("mine", code)], ["f"])["f"](0.0) == 0.0


def test_the_last_definition_counts_as_in_a_notebook():
    cells = [("one", "n = 1\ndef f(): return n"), ("two", "def f(): return n + 10\nn = n + 1")]
    assert definitions(cells, ["f", "g"])["f"]() == 12
    assert definitions(cells, ["g"]) == {"g": None}


def test_decorators_defaults_and_names_unpacked_are_needed_too():
    code = "a, b = 1, 2\ndef twice(f): return lambda *x: 2 * f(*x)\n@twice\ndef f(x=b): return x"
    assert definitions([("mine", code)], ["f"])["f"]() == 4


def test_a_notebook_with_magic_lines(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "%matplotlib inline\n!ls\n?f", "def f():\n    return 3")
    assert answers(path, ["f"])["f"]() == 3


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("none.ipynb", None, "there is no file"),
        ("a.ipynb", b"{", "is no Jupyter notebook, or is damaged"),
        ("a.ipynb", b"[1]", "is no Jupyter notebook, or is damaged"),
        ("a.py", b"\xff\xfe\x00", "is no text"),
        ("a.py", b"x = 1\ndef f(:\n", "a.py, line 2 is no Python: "),
        ("a.py", b"import no_such_module\ndef f(): return no_such_module", "raised ModuleNotFoundError"),
        ("a.py", b"x = 1 / 0\ndef f(): return x", "'x = 1 / 0' raised ZeroDivisionError"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, name, content, sentence):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises((OSError, ValueError), match=sentence):
        answers(tmp_path / name, ["f"])


def test_a_bad_cell_is_named(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "x = 1", "def f(:")
    with pytest.raises(ValueError, match="a.ipynb, cell 3, line 1 is no Python"):
        answers(path, ["f"])
