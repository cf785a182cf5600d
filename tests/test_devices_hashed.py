"""Hashed weights on another device: the same labels, signs, values and gradients; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import VECTOR, X, assert_runs_alike, assert_same, forward_and_backward
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress.hashed import hash_weights, shared_means
from tinyopt.nn.hashed import Hashed, hashed_labels, hashed_signs, hashes


def hashed_model(where):
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1)).to(where)
    hash_weights(model, 6, start="means")
    model(backend.to_device(X, where)).sum().backward()
    return [array for p in model.parameters() for array in (p.data, p.grad, p.read().data)]


CASES = {
    "hashes": lambda where: [hashes(backend.to_device(X, where), 20, 5)],
    "hashed_labels": lambda where: [hashed_labels(backend.to_device(X, where), (4, 5), 7, 5)],
    "hashed_signs": lambda where: [hashed_signs(backend.to_device(X, where), (4, 5), 5)],
    "shared_means": lambda where: [shared_means(backend.to_device(X, where), 5, 1)],
    "hash_weights": hashed_model,
}


@pytest.mark.parametrize("name", CASES)
def test_hashing_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)


def test_the_view_runs_there_without_a_transfer(device):
    view = Hashed((3, 4), 9, True)
    there = forward_and_backward(view, [VECTOR], device.name, device.transfers)
    assert_same(there, forward_and_backward(view, [VECTOR], "cpu"))
    assert np.isin(abs(there[0]), abs(VECTOR)).all()
