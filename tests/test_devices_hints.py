"""Logits, hints and attention on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_runs_alike, assert_same, forward_and_backward
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress import hints
from tinyopt.tensor import Tensor

DIGITS = abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4")
DATA = ((DIGITS, np.arange(16) % 5), None)


def network(channels, seed):
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, rng=seed), nn.BatchNorm2d(channels), nn.ReLU(), nn.Flatten(),
        nn.Linear(36 * channels, 5, rng=seed + 1),
    )  # fmt: skip


LOSSES = {
    "squared_distance": (X, Y),
    "attention_loss": (IMAGES, IMAGES[:, ::2] + 1),
    "attention_map": (IMAGES,),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_run_there_without_a_transfer(name, device):
    loss, arrays = getattr(hints, name), LOSSES[name]
    expected = forward_and_backward(loss, arrays, "cpu")
    assert_same(forward_and_backward(loss, arrays, device.name, device.transfers), expected)


OBJECTIVES = {
    "mimics": hints.mimics,
    "attends": lambda teacher: hints.attends(teacher, {"1": "1", "2": "2"}),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_gives_the_same_numbers_there(name, device):
    def run(where):
        student, teacher = network(2, 0).to(where), network(3, 5).to(where)
        images, labels = (Tensor(backend.to_device(array, where)) for array in (DIGITS, DATA[0][1]))
        loss, logits = OBJECTIVES[name](teacher)(student, images, labels)
        loss.backward()
        return [loss.data, logits.data, *(parameter.grad for parameter in student.parameters())]

    assert_runs_alike(run, device)


CASES = *LOSSES, *OBJECTIVES, "fit_hints by hinted"


def test_the_stage_of_hints_ends_in_the_same_weights_there(device):
    def run(where):
        student, teacher = network(2, 0), network(3, 5)
        settings = {"epochs": 2, "batch_size": 8, "progress": False, "device": where}
        hints.fit_hints(student, teacher, DATA, hint="2", guided="2", rng=9, **settings)
        return list(student.state_dict().values())

    assert_runs_alike(run, device)
