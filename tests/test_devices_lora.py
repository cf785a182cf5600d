"""Adapters on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import X, assert_runs_alike, moved
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import nn
from tinyopt.compress.lora import add_adapters, merge_adapters


CASES = "add_adapters", "merge_adapters"


@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_same_numbers_there(name, device):
    def run(where):
        model = nn.Sequential(fc=nn.Linear(4, 3, rng=0)).to(where)
        add_adapters(model, 2, alpha=5, rng=0)
        layer, x = model.get("fc"), moved(X, where)
        layer.up.data = layer.up.data + 0.5
        model(x).sum().backward()
        gradients = [layer.down.grad, layer.up.grad, x.grad]
        if name == "merge_adapters":
            merge_adapters(model)
        return [model(x).data, *gradients, np.array(len(model.parameters()))]

    assert_runs_alike(run, device)
