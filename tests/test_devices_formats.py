"""Small floats and chosen levels on another device; see `test_devices.py`."""

import numpy as np
import pytest
from device_cases import IMAGES, X, Y, assert_same, forward_and_backward
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, nn
from tinyopt.codec.floats import FORMATS, absmax_scale, decode, encode, from_codes, to_codes
from tinyopt.codec.levels import nearest_level
from tinyopt.compress.formats import quantize_levels, store_as
from tinyopt.nn.formats import Format, format_view
from tinyopt.tensor import OPS

VIEWS = {
    "scale of all": lambda format: format_view(X, format, per_channel=False),
    "by row": lambda format: format_view(X, format),
    "by group": lambda format: format_view(X, format, group_size=2),
}


def on_arrays(function):
    return lambda where: [function(*(backend.to_device(array, where) for array in (X, Y)))]


def on_a_model(technique):
    def run(where):
        model = nn.Sequential(nn.Conv2d(4, 2, 3, rng=0), nn.Flatten(), nn.Linear(60, 4, rng=1)).to(where)
        technique(model)
        arrays = [array for name, array in model.state_dict().items() if not name.endswith(".format")]
        return [*arrays, model(backend.to_device(IMAGES, where)).data]

    return run


CASES = {
    **{f"encode {name}": on_arrays(lambda x, y, name=name: encode(x, name)) for name in FORMATS},
    **{f"decode {name}": on_arrays(lambda x, y, name=name: decode(encode(x, name), name)) for name in FORMATS},
    "absmax_scale": on_arrays(lambda x, y: absmax_scale(x, "nf4", axis=0)),
    "to_codes": on_arrays(lambda x, y: to_codes(x, abs(y[:, :2]).reshape(3, 2, 1), "nf4")),
    "from_codes": on_arrays(lambda x, y: from_codes((x > 0).astype("u1"), abs(y[:, :2]).reshape(3, 2, 1), "nf4")),
    "nearest_level": on_arrays(lambda x, y: nearest_level(x, np.sort(y.reshape(-1)))),
    "store_as": on_a_model(lambda model: store_as(model, "fp8_e4m3")),
    "store_as by group": on_a_model(lambda model: store_as(model, "nf4", group_size=12)),
    "quantize_levels": on_a_model(lambda model: quantize_levels(model, 3, method="quantile")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_format_gives_the_same_numbers_there(name, device):
    def run(where):
        return [backend.to_host(array) for array in CASES[name](where)]

    there, here = run(device.name), run("cpu")
    if here[0].dtype.kind == "f":
        assert_same(there, here)
    else:
        assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(there, here, strict=True))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("how", VIEWS)
def test_a_weight_in_a_format_is_read_without_a_transfer(how, format, device):
    view = VIEWS[how](format)

    def run(where, transfers=None):
        parameter = nn.Parameter(X)
        parameter.attach(view)
        parameter.move(where)
        ones = [np.ones(X.shape, np.float32)]
        result = forward_and_backward(lambda x: OPS["mul"](parameter, x), ones, where, transfers)
        return [*result, backend.to_host(parameter.grad)]

    assert isinstance(view, Format)
    assert_same(run(device.name, device.transfers), run("cpu"))
