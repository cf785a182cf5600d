"""The tests of `test_devices.py` and `test_devices_models.py` again, on a GPU: `pytest -m gpu` where one is.

CuPy's explicit transfers are counted where tinyopt makes them, in `backend.CUDA`.
"""

import pytest
import test_devices
import test_devices_models
from standin import Device, Transfers

from tinyopt import backend

pytestmark = pytest.mark.gpu

# Collected here a second time; each finds the fixture `device` below.
for _tests in (test_devices, test_devices_models):
    globals().update({name: value for name, value in vars(_tests).items() if name.startswith("test_")})


@pytest.fixture
def device(monkeypatch):
    """The GPU, and its count of explicit transfers."""
    transfers = Transfers()
    cuda = backend.device("cuda")

    def to_host(array):
        transfers.to_host += 1
        return type(cuda).to_host(cuda, array)

    def from_host(array):
        transfers.to_device += 1
        return type(cuda).from_host(cuda, array)

    monkeypatch.setattr(cuda, "to_host", to_host)
    monkeypatch.setattr(cuda, "from_host", from_host)
    return Device("cuda", transfers)
