"""Low rank by outputs on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress.whitened import factorize_outputs, output_spectrum, whitened_svd

DIGITS = abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4")


def on_arrays(where):
    up, down, least = whitened_svd(*(backend.to_device(a, where) for a in (X.astype("f8"), (Y.T @ Y).astype("f8"))), 2)
    return up @ down, least


def on_a_model(**how):
    def run(where):
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 20, rng=1)
        ).to(where)
        results = factorize_outputs(model, DIGITS, **how)
        return model(backend.to_device(DIGITS, where)).data, np.array(list(results.values()))

    return run


def spectrum(where):
    gram = backend.to_device((Y.T @ Y).astype("f8"), where)
    axes, lengths = output_spectrum(backend.to_device(X.astype("f8"), where), gram)
    return abs(axes), lengths  # a vector's sign is free


CASES = {
    "whitened_svd": on_arrays, "output_spectrum": spectrum, "factorize_outputs by rank": on_a_model(rank=3),
    "factorize_outputs by energy": on_a_model(energy=0.95),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
