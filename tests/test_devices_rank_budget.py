"""Ranks under a byte budget on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.compress.rank_budget import factorize_to, spectra_of

DIGITS = abs(np.resize(IMAGES, (16, 1, 8, 8))).astype("f4")


def model_on(where):
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, rng=0), nn.ReLU(), nn.Conv2d(6, 8, 3, rng=1), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(32, 20, rng=2),
    ).to(where)  # fmt: skip


def factored(**how):
    def run(where):
        model = model_on(where)
        ranks = factorize_to(model, 2400, **how)
        chosen = np.array([np.sum(rank) for rank in ranks.values()])
        return model(backend.to_device(DIGITS, where)).data, chosen

    return run


def spectra(where):
    return list(spectra_of(model_on(where), images=DIGITS).values())


CASES = {
    "factorize_to ranks_for_bytes": factored(), "spatial": factored(kind="spatial"), "tucker2": factored(kind="tucker2"),
    "outputs": factored(images=DIGITS), "spectra": spectra,
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
