"""Teachers of any kind on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, LABELS, PROBABILITIES, X, assert_runs_alike, assert_same, forward_and_backward
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn, train
from tinyopt.compress import teachers
from tinyopt.tensor import Tensor

DIGITS = abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4")
DATA = ((DIGITS, np.arange(16) % 5), None)
SETTINGS = {"epochs": 2, "batch_size": 8, "progress": False}
CERTAIN = np.where(PROBABILITIES == PROBABILITIES.max(axis=1, keepdims=True), np.float32(1), np.float32(0))


def network(seed):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=seed))


def votes(rows):
    """A function of another library: it knows NumPy's arrays only, and float64."""
    assert type(rows) is np.ndarray and rows.ndim == 2
    return np.eye(5)[(rows[:, 0] * 100).astype(int) % 5]


def weights_of(*models):
    return [value for model in models for value in model.state_dict().values()]


def test_the_divergence_and_its_gradient_run_there_without_a_transfer(device):
    def on(where):
        p = backend.to_device(CERTAIN, where)
        return lambda z: teachers.divergence(z, p, temperature=2.0)

    expected = forward_and_backward(on("cpu"), (X,), "cpu")
    assert_same(forward_and_backward(on(device.name), (X,), device.name, device.transfers), expected)


def test_mutual_losses_run_there_without_a_transfer(device):
    def on(where):
        labels = Tensor(backend.to_device(LABELS, where))
        return lambda one, other: sum(teachers.mutual_losses([one, other], labels))

    expected = forward_and_backward(on("cpu"), (X, X[::-1] * 2), "cpu")
    assert_same(forward_and_backward(on(device.name), (X, X[::-1] * 2), device.name, device.transfers), expected)


def taught(where):
    student = network(0)
    teacher = teachers.ensemble(teachers.predictor(votes), network(1).to(where), weights=(1, 3))
    train.fit(student, DATA, objective=teachers.taught_from(teacher), device=where, **SETTINGS)
    return weights_of(student)


def remembered(where):
    teacher, images = teachers.remembered(network(1).to(where)), backend.to_device(DIGITS, where)
    return [teachers.answers(teacher, images[start:]) for start in (8, 0)]


def chained(where):
    students = [network(0), network(1)]
    teachers.chain(teachers.predictor(votes), students, DATA, device=where, **SETTINGS)
    return weights_of(*students)


def mutual(where):
    cohort = teachers.Cohort(network(0), network(1))
    train.fit(cohort, DATA, objective=teachers.mutually, device=where, **SETTINGS)
    return weights_of(cohort)


def partly_labelled(where):
    teacher = network(1).to(where)
    return list(teachers.with_unlabelled(DATA[0], DIGITS[:5] / 2, teacher))


def divergence(where):
    return [teachers.divergence(Tensor(backend.to_device(X, where)), backend.to_device(CERTAIN, where)).data]


def mutual_losses(where):
    x, labels = (backend.to_device(array, where) for array in (X, LABELS))
    return [loss.data for loss in teachers.mutual_losses([Tensor(x), Tensor(2 * x)], Tensor(labels))]


CASES = {
    "divergence": divergence,
    "mutual_losses": mutual_losses,
    "with_unlabelled": partly_labelled,
    "temper": lambda where: [teachers.temper(backend.to_device(CERTAIN + PROBABILITIES, where), 3.0)],
    "taught_from an ensemble of a predictor": taught,
    "remembered": remembered,
    "chain": chained,
    "born_again": lambda where: weights_of(*teachers.born_again(network, DATA, device=where, **SETTINGS)),
    "mutually in a Cohort": mutual,
}


@pytest.mark.parametrize("name", CASES)
def test_teaching_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
