"""Few bits on another device: groups, one bit, mixed precision, and bits under a budget; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, codec, compress, nn
from tinyopt.codec.affine import in_groups
from tinyopt.compress.bit_budget import scan_bits
from tinyopt.data import Dataset, Part

PART = Part(abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4"), np.arange(16) % 5)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8, rng=1), nn.ReLU(),
        nn.Linear(8, 5, rng=2),
    )  # fmt: skip


def weights(where, technique):
    model = network().to(where)
    extra = technique(model)
    return [p.read().data for p in model.parameters()] + list(model.state_dict().values()) + (extra or [])


def scanned(model):
    found = scan_bits(model, Dataset("drawn", tuple("abcde"), PART, PART, PART), (4, 1))
    compress.quantize(model, found.choose(int(found.sizes[:, 1].sum()) + found.rest))
    return [found.loss, found.sizes]


CASES = {
    "in_groups": lambda where: [in_groups(backend.to_device(X, where), 2)],
    "quantize": lambda where: codec.quantize(backend.to_device(X, where), bits=1, symmetric=False, group_size=2),
    "one bit": lambda where: weights(where, lambda model: compress.quantize(model, 1) and None),
    "groups": lambda where: weights(where, lambda model: compress.quantize(model, 3, group_size={"4": 12}) and None),
    "mixed": lambda where: weights(where, lambda m: compress.quantize(m, {"0": 8, "6": 1}, symmetric=False) and None),
    "scan_bits": lambda where: weights(where, scanned),
}


@pytest.mark.parametrize("name", CASES)
def test_few_bits_give_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
