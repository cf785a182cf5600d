"""Fusion and the workspace on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, measure, nn
from tinyopt.compress.fuse import fuse, merge_convs, merge_linears
from tinyopt.compress.workspace import Workspace
from tinyopt.nn.fused import FusedConv2d, FusedLinear

DIGITS = np.resize(IMAGES, (16, 1, 8, 8)).astype("f4")


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding=1, groups=4, rng=1)), nn.ReLU(), nn.Dropout(), nn.Flatten(),
        nn.Linear(64, 8, rng=2), nn.Linear(8, 8, rng=3), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5, rng=4),
    ).eval()  # fmt: skip


def answer(model, where, x):
    with measure.inference(model):
        return [model.to(where)(backend.to_device(x, where)).data]


def fused(where):
    model, report = fuse(network().to(where), DIGITS[:1])
    assert report.names("merged") == ["9"] and report.names("norm folded") == ["1", "10"]
    return [*answer(model, where, DIGITS), *model.state_dict().values()]


def merged(where):
    x = backend.to_device(X, where)
    convs = merge_convs(x.reshape(3, 4, 1, 1), None, x.T.reshape(4, 3, 1, 1), x[0])
    return [*merge_linears(x, x[:, 0], x.T, x[0]), *convs]


def in_a_workspace(where):
    model, _ = fuse(network().to(where), DIGITS[:1])
    return answer(Workspace(model, DIGITS[:1]), where, DIGITS)


CASES = {
    "merge_linears merge_convs": merged,
    "FusedLinear": lambda where: answer(FusedLinear(4, 3, rng=0), where, X),
    "FusedConv2d pooled": lambda where: answer(FusedConv2d(4, 3, 3, 2, pool="max", pool_size=2, rng=0), where, IMAGES),
    "FusedConv2d groups": lambda where: answer(FusedConv2d(4, 6, 3, padding=1, groups=2, rng=0), where, IMAGES),
    "FusedConv2d": lambda where: answer(FusedConv2d(4, 3, 3, padding=1, rng=0), where, IMAGES),
    "fuse": fused,
    "Workspace": in_a_workspace,
}


@pytest.mark.parametrize("name", CASES)
def test_fusion_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
