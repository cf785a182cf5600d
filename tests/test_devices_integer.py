"""Integer-only inference on another device: the same integers, and no transfer while it runs; see `test_devices.py`."""

import numpy as np
import pytest
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import Tensor, backend, measure, models, nn
from tinyopt.compress.fold import fold_norm
from tinyopt.compress.integer import integerize
from tinyopt.nn.integer import IntegerConv2d, IntegerLinear

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 1, 8, 8), dtype=np.float32)


def network(make):
    """The integers of a model that is made and run where it is asked for."""

    def run(where):
        net = integerize(make().eval(), IMAGES).to(where)
        x = Tensor(backend.to_device(IMAGES, where))
        with measure.inference(net):
            net(x)  # lays out the weights
            return [lambda: net.integers(x).data, lambda: net(x).data]

    return run


def worst(layer, x):
    """A layer whose products need more than one part, or float64."""

    def run(where):
        made = layer()
        made.weight[...] = -127
        made, there = made.to(where), Tensor(backend.to_device(x, where))
        made(there)
        return [lambda: made(there).data]

    return run


def folded(where):
    arrays = [backend.to_device(array, where) for array in (IMAGES[:4, :, 2:5], *IMAGES[:5, 0, 0, :4])]
    return [lambda part=part: fold_norm(*arrays)[part] for part in range(2)]


def padded_pooling():
    return nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(1, 3, 3, padding=1, rng=0), nn.ReLU(), nn.AvgPool2d(3, 2, 1),
                         nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(3 * 4, 4, rng=1))  # fmt: skip


CASES = {
    "integerize lenet5": network(lambda: models.lenet5(8, filters=(3, 4), units=9, rng=0)),
    "integerize resnet8": network(lambda: models.resnet8(8, width=3, rng=0)),
    "integerize mobilenet_tiny": network(lambda: models.mobilenet_tiny(8, width=0.2, rng=0)),
    "padded pooling": network(padded_pooling),
    "IntegerLinear in parts": worst(lambda: IntegerLinear(1500, 2), np.full((3, 1500), -128, np.int8)),
    "IntegerConv2d in float64": worst(lambda: IntegerConv2d(1, 2, 36), np.full((2, 1, 36, 37), -128, np.int8)),
    "fold_norm": folded,
}


@pytest.mark.parametrize("name", CASES)
def test_integers_are_the_same_there_and_stay_there(name, device):
    here = [backend.to_host(part()) for part in CASES[name]("cpu")]
    parts = CASES[name](device.name)
    device.transfers.reset()
    there = [part() for part in parts]
    assert (device.transfers.to_host, device.transfers.to_device) == (0, 0)
    there = [backend.to_host(array) for array in there]
    for a, b in zip(there, here):
        assert a.dtype == b.dtype and np.array_equal(a, b)


def test_a_model_on_the_device_is_integerized_there(device):
    model = models.lenet_300_100(8, rng=0).eval()
    here = integerize(model, IMAGES)
    there = integerize(model.to(device.name), backend.to_device(IMAGES, device.name)).to(device.name)
    for a, b in zip(here.state_dict().values(), there.state_dict().values()):
        assert np.array_equal(a, backend.to_host(b))
