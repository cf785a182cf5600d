"""Tied layers on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress.tied import tie
from tinyopt.nn.tied import Embedding, Repeat


def gradients(model, x, where):
    y = model.to(where)(backend.to_device(x, where))
    y.sum().backward()
    return [y.data, *(parameter.grad for parameter in model.parameters())]


def tied(where):
    model = nn.Sequential(a=nn.Linear(4, 4, rng=0), act=nn.ReLU(), b=nn.Linear(4, 4, rng=1)).to(where)
    tie(model, "a", "b")
    return gradients(model, X, where)


CASES = {
    "Repeat": lambda where: gradients(Repeat(nn.Linear(4, 4, rng=0), 3), X, where),
    "Embedding": lambda where: gradients(Embedding(5, 3, rng=0), np.array([[0, 4, 4], [1, 0, 0]]), where),
    "tie": tied,
}


@pytest.mark.parametrize("name", CASES)
def test_tied_layers_give_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
