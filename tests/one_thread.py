"""A fixture for tests that train and measure small networks: one thread, as `tinyopt tour` itself takes."""

import pytest

from tinyopt.report import blas


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Limit OpenBLAS for the tests of one file; after them it is as it was."""
    before = blas.describe()["threads"]
    limited = blas.limit_threads()
    yield
    if limited:
        blas.limit_threads(before)
