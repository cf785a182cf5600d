"""The same tests under pytest: `pytest lessons -m task1_2`, by default on the package's own functions.

    pytest lessons --answers my.ipynb        on the functions that a notebook or a .py file defines

`lessons/conftest.py` imports the hooks.
"""

import pytest

from tinyopt.course.answers import answers
from tinyopt.course.judge import Ex, trial


def pytest_addoption(parser):
    """Add `--answers FILE`."""
    parser.addoption(
        "--answers", help="a notebook or .py file with the functions to test; default: the package's own"
    )


def pytest_itemcollected(item):
    """Give each test of an exercise its marker, task1_2 for exercise 1.2."""
    exercise = getattr(getattr(item, "function", None), "exercise", None)
    if exercise is not None:
        mark = f"task{exercise.id.replace('.', '_')}"
        if not any(line.startswith(f"{mark}:") for line in item.config.getini("markers")):
            item.config.addinivalue_line(
                "markers", f"{mark}: the tests of exercise {exercise.id}, {exercise.name}"
            )
        item.add_marker(mark)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Run a test of an exercise as `check` does, so that it fails with the same words."""
    if hasattr(pyfuncitem.function, "exercise"):
        verdict = trial(pyfuncitem.function, pyfuncitem.funcargs["ex"])
        if verdict is not None:
            pytest.fail(repr(verdict), pytrace=False)
        return True


@pytest.fixture
def ex(request):
    """The answer that a test is about: the package's own, or the one in the file of `--answers`."""
    exercise, path = request.function.exercise, request.config.getoption("--answers", default=None)
    if path is None:
        return Ex(exercise)
    function = answers(path, [exercise.name])[exercise.name]
    if function is None:
        pytest.fail(f"{path} defines no function {exercise.name}", pytrace=False)
    return Ex(exercise, function)
