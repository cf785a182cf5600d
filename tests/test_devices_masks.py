"""Choosing and keeping weights on another device: masks, schedules, tickets; see `test_devices.py`."""

import copy

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, compress, nn, train
from tinyopt.compress.dynamic import RigL, dense_gradients, drop_and_grow, sparse_start
from tinyopt.compress.lottery import find_ticket
from tinyopt.compress.patterns import block_mask, n_m_mask, prune_blocks, prune_n_m
from tinyopt.compress.reconstruct import by_gradient, least_squares, reconstruct
from tinyopt.compress.schedules import PruneAt, iterative
from tinyopt.compress.seen import pixels_read, readers
from tinyopt.compress.sensitivity import scan
from tinyopt.data import Dataset, Part
from tinyopt.tensor import Tensor

DIGITS, LABELS = np.resize(IMAGES, (16, 1, 8, 8)), np.arange(16) % 5
PART = Part(abs(DIGITS).astype("f4"), LABELS)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, rng=1), nn.Flatten(), nn.Linear(16, 8, rng=2), nn.ReLU(), nn.Linear(8, 5, rng=3),
    )  # fmt: skip


def arrays_of(model):
    return list(model.state_dict().values())


def on_a_model(technique):
    def run(where):
        model = network().to(where)
        extra = technique(model, where)
        return [*arrays_of(model), *(extra or [])]

    return run


def on_arrays(function):
    return lambda where: [function(*(backend.to_device(array, where) for array in (X, Y)))]


def trained(model, where, callbacks, epochs=3):
    train.fit(model, (PART, None), epochs=epochs, batch_size=8, callbacks=callbacks, device=where, progress=False)


def rigl(model, where):
    sparse_start(model, 0.6, rng=0)
    trained(model, where, [RigL(every=2, end=6)])


def gradients(model, where):
    sparse_start(model, 0.6, rng=0)
    x, y = (Tensor(backend.to_device(array, where)) for array in PART)
    return list(dense_gradients(model, train.classify, x, y).values())


def ticket(model, where):
    found = find_ticket(model, lambda m, callbacks: trained(m, where, callbacks), 0.5, step=2)
    trained(model, where, [found])


def fitted(method):
    def technique(model, where):
        whole = copy.deepcopy(model)
        compress.prune(model, 0.4)
        reconstruct(model, whole, PART.images, method=method)

    return technique


def scanned(model, where):
    found = scan(model, Dataset("drawn", tuple("abcde"), PART, PART, PART), (0.5, 0.9))
    compress.prune(model, found.choose(0.6))
    return [found.loss]


CASES = {
    "n_m_mask": on_arrays(lambda x, y: n_m_mask(x, 1, 2)),
    "block_mask": on_arrays(lambda x, y: block_mask(x, (2, 2), sparsity=0.5)),
    "drop_and_grow": on_arrays(lambda x, y: drop_and_grow(x, y, x > 0, 0.5)),
    "least_squares": on_arrays(lambda x, y: least_squares(y, x > 0, x.T @ x, x.T @ x @ y.T, damping=0.01)),
    "by_gradient": on_arrays(lambda x, y: by_gradient(y, x > 0, x.T @ x, x.T @ x @ y.T, steps=20)),
    "readers": on_arrays(lambda x, y: readers(x > 0, (1, 2, 2))),
    "prune_n_m": on_a_model(lambda model, where: prune_n_m(model, 1, 2, skip="0") and None),
    "prune_blocks": on_a_model(lambda model, where: prune_blocks(model, (2, 1), 0.5) and None),
    "sparse_start": on_a_model(lambda model, where: sparse_start(model, 0.7, rng=0) and None),
    "PruneAt": on_a_model(lambda model, where: trained(model, where, [PruneAt(iterative(0.6, 1, 2, 2))])),
    "dense_gradients": on_a_model(gradients),
    "RigL": on_a_model(rigl),
    "find_ticket": on_a_model(ticket),
    "scan": on_a_model(scanned),
    "reconstruct": on_a_model(fitted("least_squares")),
    "reconstruct by gradient": on_a_model(fitted("gradient")),
    "pixels_read": on_a_model(lambda model, where: [pixels_read(model, (1, 8, 8))]),
}


@pytest.mark.parametrize("name", CASES)
def test_choosing_and_keeping_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
