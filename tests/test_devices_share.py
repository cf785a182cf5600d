"""Codebooks in bands, and k-means' starts, on another device; see `test_devices.py`."""

import pytest
from device_cases import X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, compress, nn
from tinyopt.compress.share import share


def shared_model(where, prune=0.0, **settings):
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1)).to(where)
    if prune:
        compress.prune(model, prune, scope="layer")
    share(model, 3, rng=0, **settings)
    model(backend.to_device(X, where)).sum().backward()
    return [array for p in model.parameters() for array in (p.data, p.grad, p.read().data)]


CASES = {
    "in bands": lambda where: shared_model(where, groups=2),
    "in bands, pruned": lambda where: shared_model(where, groups=2, prune=0.3),
    "k-means++": lambda where: shared_model(where, start="k-means++", empty="refill"),
}


@pytest.mark.parametrize("name", CASES)
def test_sharing_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)


def test_bands_move_with_the_model(device):
    model = nn.Sequential(nn.Linear(4, 8, rng=0))
    share(model, 3, groups=4)
    here = model(X).data
    there = model.to(device.name)(backend.to_device(X, device.name)).data
    assert (backend.to_host(there) == here).all()
