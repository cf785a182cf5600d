"""Training with quantization on another device: folding, lines that follow, learned steps; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn, optim, train
from tinyopt.compress.fold import fold_norm, fold_norms
from tinyopt.compress.lsq import finish, first_step, prepare_lsq
from tinyopt.compress.qat import prepare_qat, ranges
from tinyopt.data import Part

PART = Part(abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4"), np.arange(16) % 5)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, rng=1), nn.Flatten(), nn.Linear(16, 5, rng=3),
    )  # fmt: skip


def on_a_model(technique):
    def run(where):
        model = network().to(where).eval()
        technique(model, where)
        return [*model.state_dict().values(), *ranges(model).values()]

    return run


def fit(model, where, callbacks=()):
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    train.fit(model, (PART, None), epochs=2, batch_size=8, optimizer=optimizer, callbacks=callbacks, device=where,
              progress=False)  # fmt: skip


def qat(model, where):
    fit(model, where, [prepare_qat(model, PART, weight_bits=4, activation_bits=4, symmetric=False)])


def lsq(model, where):
    prepare_lsq(model, PART, weight_bits=4, activation_bits=4, per_channel=True)
    fit(model, where)
    finish(model)


def folded(where):
    rows = [backend.to_device(X[:, i] + 2, where) for i in range(4)]
    return fold_norm(backend.to_device(X, where), None, *rows)


CASES = {
    "first_step": lambda where: [first_step(backend.to_device(X, where), 7, axis=0)],
    "fold_norm": folded,
    "fold_norms": on_a_model(lambda model, where: fold_norms(model, PART.images[:1])),
    "prepare_qat": on_a_model(qat),
    "prepare_lsq": on_a_model(lsq),
}


@pytest.mark.parametrize("name", CASES)
def test_training_with_quantization_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
