"""Better rounding, equalisation, SmoothQuant and bias correction on another device; see `test_devices.py`."""

import copy

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, compress, nn
from tinyopt.compress.adaround import adaround, learned
from tinyopt.compress.bias_correction import correct_bias, expected_shift
from tinyopt.compress.equalize import equalize
from tinyopt.compress.gptq import column_by_column, gptq
from tinyopt.compress.rounding import exhaustive, nearest, output_error
from tinyopt.compress.smooth import smooth

DIGITS = abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4")
GRAM = (Y.T @ Y + X.T @ X).astype("f8")
SCALE = (abs(X).max(axis=1, keepdims=True) / 7).astype("f8")
LINE = {"low": -7, "high": 7}


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=4, rng=1), nn.Flatten(), nn.Linear(16, 8, rng=2), nn.ReLU(), nn.Linear(8, 5, rng=3),
    )  # fmt: skip


def on_arrays(function):
    arrays = X.astype("f8"), GRAM, SCALE, np.zeros((1, 1))
    return lambda where: [function(*(backend.to_device(array, where) for array in arrays))]


def on_a_model(technique):
    def run(where):
        model = network().to(where)
        technique(model)
        return list(model.state_dict().values())

    return run


def corrected(model):
    whole = copy.deepcopy(model)
    compress.quantize(model, 3)
    correct_bias(model, whole, DIGITS)


CASES = {
    "nearest": on_arrays(lambda w, h, s, z: nearest(w, s, z, **LINE)),
    "output_error": on_arrays(lambda w, h, s, z: output_error(w, h)),
    "exhaustive": on_arrays(lambda *a: exhaustive(*a, **LINE)),
    "column_by_column": on_arrays(lambda *a: column_by_column(*a, **LINE, act_order=True)),
    "learned": on_arrays(lambda *a: learned(*a, **LINE, steps=20)),
    "expected_shift": on_arrays(lambda w, h, s, z: expected_shift(w, w + s, h[0])),
    "gptq": on_a_model(lambda model: gptq(model, DIGITS, 3)),
    "gptq in groups": on_a_model(lambda model: gptq(model, DIGITS, 3, group_size={"6": 4}, symmetric=False)),
    "adaround": on_a_model(lambda model: adaround(model, DIGITS, 3, steps=10)),
    "equalize": on_a_model(lambda model: equalize(model, DIGITS[:1])),
    "smooth": on_a_model(lambda model: smooth(model, DIGITS)),
    "correct_bias": on_a_model(corrected),
}


@pytest.mark.parametrize("name", CASES)
def test_better_rounding_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
