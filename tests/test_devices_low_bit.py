"""Binary and ternary weights on another device; rules, views and layers have their cases in `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_same
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, compress, nn, optim, train
from tinyopt.compress.binary import binarize, binarize_inputs, binary_view, mean_scale
from tinyopt.compress.ternary import finish_ttq, prepare_ttq, ternarize, ttq_values, twn_line
from tinyopt.data import Part

PART = Part(np.resize(IMAGES, (12, 4, 8, 7)).astype("f4"), np.arange(12) % 4)


def on_arrays(function):
    return lambda where: function(*(backend.to_device(array, where) for array in (X, Y)))


def trained(technique, pruned=False, finish=lambda model: None):
    """A small model, changed by the technique and trained; its arrays and answers."""

    def run(where):
        model = nn.Sequential(nn.Conv2d(4, 3, 3, rng=0), nn.Flatten(), nn.Linear(90, 4, rng=1)).to(where)
        if pruned:
            compress.prune(model, 0.5)
        follow = technique(model)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        callbacks = [follow] if hasattr(follow, "after_step") else []
        train.fit(model, (PART, None), epochs=2, batch_size=6, optimizer=optimizer, callbacks=callbacks, device=where,
                  progress=False)  # fmt: skip
        finish(model)
        numbers = [array for name, array in model.state_dict().items() if not name.endswith(("limit", "share"))]
        return [*numbers, model(backend.to_device(PART.images, where)).data]

    return run


def layer_of_signs(model):
    follow = ternarize(model, skip="0")
    binarize_inputs(model, "2", PART.images)
    return follow


CASES = {
    "mean_scale": on_arrays(lambda x, y: [mean_scale(x), mean_scale(x, y > 0)]),
    "twn_line": on_arrays(lambda x, y: [*twn_line(x), *twn_line(x, y > 0), *twn_line(x, y > 0, per_channel=False)]),
    "ttq_values": on_arrays(lambda x, y: ttq_values(x)),
    "binary_view": on_arrays(lambda x, y: [binary_view(x, "glorot").scale, binary_view(x, keep=y > 0).scale]),
    "binarize": trained(binarize),
    "binarize, pruned": trained(binarize, pruned=True),
    "binarize by a constant": trained(lambda model: binarize(model, "glorot")),
    "ternarize": trained(ternarize, pruned=True),
    "prepare_ttq": trained(prepare_ttq, finish=finish_ttq),
    "binarize_inputs": trained(layer_of_signs),
}


@pytest.mark.parametrize("name", CASES)
def test_few_values_are_the_same_there(name, device):
    there, here = CASES[name](device.name), CASES[name]("cpu")
    assert {backend.device_of(array).name for array in there} == {device.name}
    assert_same([backend.to_host(array) for array in there], [np.asarray(array) for array in here])
