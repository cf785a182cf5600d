"""Convolutions of low rank on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import FILTERS, IMAGES, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress.conv_lowrank import conv_cost, factorize_convs, split_conv, tucker2_sweeps


def sweeps(where):
    *_, (u, v, error) = tucker2_sweeps(backend.to_device(FILTERS, where), (3, 2), sweeps=4)
    return u @ u.T, v @ v.T, error  # the spaces: a vector's sign is free


def split(kind, rank):
    def run(where):
        layer = nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, rng=0).to(where)
        return [split_conv(layer, rank, kind)(backend.to_device(IMAGES, where)).data]

    return run


def by_energy(where):
    model = nn.Sequential(nn.Conv2d(4, 6, 3, rng=0)).to(where)
    ranks = factorize_convs(model, energy=0.6)
    return [model(backend.to_device(IMAGES, where)).data, np.array(list(ranks.values()))]


CASES = {
    "tucker2_sweeps": sweeps, "channel_svd": split("channel", 3), "spatial_svd": split("spatial", 4),
    "tucker2": split("tucker2", (3, 2)), "factorize_convs by energy": by_energy,
    "conv_cost": lambda where: [np.array(conv_cost(nn.Conv2d(4, 6, 3, rng=0).to(where), 2))],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
