"""Give every lesson's tests the fixture `ex`, their markers, and the words of `check`."""

from tinyopt.course.pytest_plugin import ex, pytest_addoption, pytest_itemcollected, pytest_pyfunc_call  # noqa: F401
