"""Calibration, static and dynamic quantization on every device: the same numbers as on the CPU."""

import functools

import numpy as np
import pytest
from device_cases import X, assert_runs_alike
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import backend, models
from tinyopt.compress import calibrate, observers, wrong_ways
from tinyopt.compress.clip import clip_weight, clip_weights
from tinyopt.compress.dynamic_quant import quantize_dynamic
from tinyopt.compress.static import quantize_static
from tinyopt.tensor import Tensor

IMAGES = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)


def rule(function):
    """A range of all numbers, and one for each channel."""

    def run(where):
        x = backend.to_device(X, where)
        ends = [*function(x), *function(x, axis=1)]
        assert {backend.device_of(end).name for end in ends[2:]} == {where}
        return ends

    return run


def on_a_model(technique):
    def run(where):
        model = models.lenet5(image_size=8, filters=(2, 3), units=5, rng=0).to(where).eval()
        images = backend.to_device(IMAGES, where)
        found = technique(model, images)
        return [model(Tensor(images)).data, *model.state_dict().values(), *map(np.float64, found)]

    return run


def ends(ranges):
    return [end for pair in ranges.values() for end in pair]


def observed(kind):
    return on_a_model(lambda model, images: ends(observers.calibrate(model, images, kind, batch_size=5)))


CASES = {
    "k_sigma": rule(calibrate.k_sigma),
    "mse_optimal": rule(functools.partial(calibrate.mse_optimal, bits=3)),
    "mse_optimal, affine": rule(functools.partial(calibrate.mse_optimal, bits=3, symmetric=False)),
    "entropy": rule(functools.partial(calibrate.entropy, bits=3)),
    "MinMaxObserver": observed(observers.MinMaxObserver),
    "MovingAverageMinMaxObserver": observed(observers.MovingAverageMinMaxObserver),
    "KSigmaObserver": observed(observers.KSigmaObserver),
    "HistogramObserver": observed(functools.partial(observers.HistogramObserver, bins=64, bits=3)),
    "PercentileObserver": observed(functools.partial(observers.PercentileObserver, 95)),
    "EntropyObserver": observed(functools.partial(observers.EntropyObserver, bins=64, bits=3)),
    "clip_weight": lambda where: [clip_weight(backend.to_device(X, where), -0.1, 0.2)],
    "clip_weights": on_a_model(lambda model, images: clip_weights(model, calibrate.k_sigma).values()),
    "quantize_dynamic": on_a_model(lambda model, images: quantize_dynamic(model).values()),
    "quantize_static": on_a_model(
        lambda model, images: ends(quantize_static(model, images, observer=observers.MinMaxObserver))
    ),
    "bias_in_8_bits": lambda where: [
        wrong_ways.bias_in_8_bits(backend.to_device(X[0], where)),
        wrong_ways.bias_in_8_bits(backend.to_device(X[0], where), 1e-3),
    ],
    "float_requantization": lambda where: [
        wrong_ways.float_requantization(backend.to_device((1e4 * X).astype(np.int32), where), 0.0123)
    ],
}


@pytest.mark.parametrize("name", CASES)
def test_calibration_gives_the_same_numbers_there(name, device):
    assert_runs_alike(CASES[name], device)
