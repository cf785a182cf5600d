"""Static, dynamic and weight-only quantization of models, and clipping: exact integers, values, files and bytes."""

import copy
import functools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import compress, files, models, nn
from tinyopt.codec.affine import choose_scale, dequantize, scale_from_range, to_integers
from tinyopt.compress.calibrate import k_sigma, percentile
from tinyopt.compress.clip import clip_weight, clip_weights
from tinyopt.compress.dynamic_quant import quantize_dynamic
from tinyopt.compress.observers import HistogramObserver, MinMaxObserver
from tinyopt.compress.qat import read_by_products
from tinyopt.compress.static import quantize_static
from tinyopt.errors import ShapeError
from tinyopt.nn.dynamic import integer_product
from tinyopt.tensor import Tensor

IMAGES = np.random.default_rng(0).random((40, 1, 8, 8), dtype=np.float32)


def lenet():
    return models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)


# --- the exact product -----------------------------------------------------------------------------------


def slow_product(q, steps):
    """In Python's own integers."""
    return [[sum(int(a) * int(b) for a, b in zip(row, column)) for column in steps] for row in q]


@settings(max_examples=25)
@given(seed=st.integers(0, 99), n=st.integers(1, 4), d_in=st.integers(1, 40), largest=st.sampled_from([1, 7, 127, 255]))
def test_the_product_of_floats_is_that_of_integers(seed, n, d_in, largest):
    rng = np.random.default_rng(seed)
    q, steps = rng.integers(-128, 128, (n, d_in), np.int8), rng.integers(-largest, largest + 1, (3, d_in))
    assert integer_product(q, steps.astype(np.float32), largest).tolist() == slow_product(q, steps)


@pytest.mark.parametrize("largest", [127, 255, 32767, 65535])
@pytest.mark.parametrize("sign", [1, -1])
def test_it_is_exact_in_the_worst_case(largest, sign):
    d_in = 2500
    q = np.full((1, d_in), -128, np.int8)
    steps = np.full((2, d_in), sign * largest, np.float64)
    steps[1, ::2] -= sign  # odd sums, which float32 lacks beyond 2²⁴
    assert integer_product(q, steps, largest).tolist() == [[-128 * int(row.sum()) for row in steps]]
    odd = np.full((1, d_in), -127, np.int8)
    assert integer_product(odd, steps, largest).tolist() == [[-127 * int(row.sum()) for row in steps]]


def test_one_float32_sum_would_not_be_exact():
    q, steps = np.full((1, 2500), 127, np.int8), np.full((1, 2500), 127.0)
    q[0, -1] = 1
    whole = 127 * 127 * 2499 + 127
    assert int(np.float32(whole)) != whole and integer_product(q, steps, 127).tolist() == [[whole]]


# --- dynamic ---------------------------------------------------------------------------------------------


def slow_dynamic(x, layer):
    """y by the formula, one integer after the other."""
    s, z = choose_scale(x, bits=layer.bits, symmetric=False)
    q = to_integers(x, s, z, bits=layer.bits, symmetric=False)
    view = layer.weight.view(nn.Quantize)
    steps = np.rint(layer.weight.read().data / view.scale).astype(int)
    sums = [[sum((int(a) - int(z)) * int(b) for a, b in zip(row, column)) for column in steps] for row in q]
    return np.array(sums).astype(x.dtype) * (s * view.scale.reshape(-1)) + layer.bias.data


@pytest.mark.parametrize("bits", [8, 5, 2])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_dynamic_layer_equals_integers_one_by_one(bits, symmetric):
    model = nn.Sequential(fc=nn.Linear(30, 4, rng=0))
    x = np.random.default_rng(1).normal(1, 2, (5, 30)).astype(np.float32)
    compress.quantize(model, 8, symmetric=symmetric)
    quantize_dynamic(model, bits)
    layer = model.get("fc")
    assert (model(x).numpy() == slow_dynamic(x, layer)).all()
    line = choose_scale(x, bits=bits, symmetric=False)
    rounded = dequantize(to_integers(x, *line, bits=bits, symmetric=False), *line)
    assert np.allclose(model(x).numpy(), rounded @ layer.weight.read().data.T + layer.bias.data, atol=1e-4)


def test_its_gradients_are_those_of_a_linear_layer_of_the_rounded_weight():
    layer = nn.DynamicQuantLinear(6, 3, rng=0)
    x = Tensor(np.random.default_rng(2).normal(size=(2, 5, 6)), requires_grad=True)
    layer.astype("float64")(x).sum().backward()
    weight = layer.weight.read().data
    assert np.allclose(x.grad, np.ones((2, 5, 3)) @ weight)
    assert np.allclose(layer.weight.grad, x.data.sum(axis=(0, 1)) * np.ones((3, 1)))
    assert layer.bias.grad.tolist() == [10, 10, 10]
    assert layer(np.zeros((0, 6))).shape == (0, 3)


def test_a_dynamic_model_is_saved_in_bytes_and_comes_back_the_same(tmp_path):
    model, path = lenet(), tmp_path / "model"
    n_float = files.save(model, path)
    compress.prune(model, {"fc1": 0.5})
    before = {name: model.get(name).weight.read().data for name in ("fc1", "fc2")}
    errors = quantize_dynamic(model)
    for name, weight in before.items():
        assert np.isclose(errors[name], abs(model.get(name).weight.read().data - weight).max())
        assert errors[name] <= abs(weight).max() / 127 / 2 * 1.001
    assert (model.get("fc1.weight").read().data == 0).mean() >= 0.5
    n_bytes = files.save(model, path)
    stored = {name: n for name, kind, part, n in files.ledger(path) if part == "integers"}
    assert stored == {"fc1.weight": 240, "fc2.weight": 200} and n_bytes < 0.7 * n_float  # a byte for each
    again = files.load(path)
    assert type(again.get("fc1")) is nn.DynamicQuantLinear
    assert (again(IMAGES).numpy() == model.eval()(IMAGES).numpy()).all()


def test_what_cannot_be_dynamic_is_named_and_left():
    with pytest.raises(ValueError, match="no Linear layer to replace"):
        quantize_dynamic(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="no Linear layer to replace"):
        quantize_dynamic(lenet(), skip=("fc1", "fc2"))
    for bits in (0, 1, 9, 17):
        with pytest.raises(ValueError, match=f"bits in 2..8; got {bits}"):
            quantize_dynamic(lenet(), bits)
    model = lenet()
    model.get("fc2").weight.data = np.full((10, 20), np.nan, np.float32)
    with pytest.raises(ValueError, match="layer 'fc2' cannot be quantized: .*NaN or Inf"):
        quantize_dynamic(model)
    assert type(model.get("fc1")) is nn.Linear
    grouped = lenet()
    compress.quantize(grouped, 4, group_size=2, skip=("conv1", "conv2"))
    with pytest.raises(ValueError, match="one scale for each output or one for all"):
        quantize_dynamic(grouped)
    layer = nn.DynamicQuantLinear(4, 2, rng=0)
    with pytest.raises(ShapeError, match=r"needs x \(..., 4\); got \(3, 5\)"):
        layer(np.ones((3, 5), np.float32))
    with pytest.raises(ValueError, match="NaN or Inf"):
        layer(np.full((1, 4), np.nan, np.float32))


# --- static ------------------------------------------------------------------------------------------------


def by_hand(model, ranges, bits, x):
    """The static model's answer, from arrays."""

    def rounded(x, name):
        low, high = map(np.float32, ranges[name])
        line = scale_from_range(low, high, bits=bits, symmetric=False)
        return dequantize(to_integers(x, *line, bits=bits, symmetric=False), *line)

    x = rounded(x, "input")
    for name, layer in model.named_children():
        x = layer(x).numpy()
        x = rounded(x, name) if name in ranges else x
    return x


@pytest.mark.parametrize(
    "bits, observer", [(6, None), (8, MinMaxObserver), (3, functools.partial(HistogramObserver, bits=3))]
)
def test_a_static_model_rounds_weights_and_all_that_meets_them(bits, observer, tmp_path):
    model, plain = lenet(), lenet()
    assert read_by_products(model, IMAGES[:1]) == ["input", "pool1", "pool2", "relu1"]
    ranges = quantize_static(model, IMAGES, bits, weight_bits=6, observer=observer)
    compress.quantize(plain, 6)
    assert list(ranges) == ["input", "pool1", "pool2", "relu1"]
    expected = by_hand(plain, ranges, bits, IMAGES)
    assert np.allclose(model(IMAGES).numpy(), expected, atol=1e-5)
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.FakeQuantize)]
    assert names == ["input_quant", "pool1_quant", "pool2_quant", "relu1_quant"]
    seen, x = {}, IMAGES
    for name, layer in model.named_children():
        seen[name] = x = layer(x).numpy()
    assert all(len(np.unique(seen[name])) <= 2**bits for name in names)
    files.save(model, tmp_path / "model")
    assert (files.load(tmp_path / "model")(IMAGES).numpy() == model.eval()(IMAGES).numpy()).all()


def test_residual_blocks_and_skipped_layers():
    model = models.resnet8(image_size=8, width=4, rng=0)
    ranges = quantize_static(model, IMAGES[:8], observer=MinMaxObserver, skip="fc")
    assert "block2.body.relu1" in ranges and "flatten" not in ranges
    assert model.get("fc.weight").view(nn.Quantize) is None and model(IMAGES[:2]).shape == (2, 10)


def test_what_cannot_be_static_is_named_and_the_model_left():
    model = lenet()
    names = [name for name, _ in model.named_modules()]
    broken = IMAGES.copy()
    broken[3] = np.inf
    for bad, sentence in ((IMAGES[:0], "needs examples"), (broken, "the calibration images hold NaN or infinity")):
        with pytest.raises(ValueError, match=sentence):
            quantize_static(model, bad)
    for settings_ in ({"bits": 0}, {"bits": 17}, {"weight_bits": 17}):
        with pytest.raises(ValueError, match="bits"):
            quantize_static(model, IMAGES, observer=MinMaxObserver, **settings_)
    model.get("fc1").weight.data = np.full((20, 24), np.nan, np.float32)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="'relu1' makes NaN"):
        quantize_static(model, IMAGES)
    assert [name for name, _ in model.named_modules()] == names and not model.get("conv1.weight").views

    class Inner(nn.Module):
        def __init__(self):
            self.net = lenet()

        def forward(self, x):
            return self.net(x)

    with pytest.raises(ValueError, match=r"first layer of a Sequential; this is a Inner. Put it into one"):
        quantize_static(Inner(), IMAGES, observer=MinMaxObserver)
    outer = nn.Sequential(inner=Inner())
    assert "inner.net.pool1" in quantize_static(outer, IMAGES, observer=MinMaxObserver)
    once = lenet()
    quantize_static(once, IMAGES, observer=MinMaxObserver)
    with pytest.raises(ValueError, match="activations are quantized already, by input_quant"):
        quantize_static(once, IMAGES, observer=MinMaxObserver)


# --- clipping ------------------------------------------------------------------------------------------------


def test_clipping_alone_saves_no_byte_and_before_quantizing_it_makes_the_steps_finer(tmp_path):
    def n_bytes(model):
        return os.path.getsize(tmp_path / "model") if files.save(model, tmp_path / "model") else 0

    model, rule = lenet(), functools.partial(percentile, percent=98)
    weight = model.get("fc1").weight.data.copy()
    weight[3, 4] *= 30  # an outlier
    model.get("fc1").weight.data = weight
    clipped = copy.deepcopy(model)
    moved = clip_weights(clipped, rule)
    assert all(0.02 < share < 0.08 for share in moved.values())
    assert n_bytes(clipped) == n_bytes(model)
    scales = {}
    for name, each in {"whole": model, "clipped": clipped}.items():
        compress.quantize(each, 3, per_channel=False)
        scales[name] = float(each.get("fc1.weight").view(nn.Quantize).scale)
    assert n_bytes(clipped) == n_bytes(model)
    assert scales["clipped"] < 0.1 * scales["whole"]


@pytest.mark.parametrize("per_channel", [True, False])
def test_clipping_and_then_quantizing_is_quantizing_on_the_clipped_range(per_channel):
    one, other, rule = lenet(), lenet(), functools.partial(percentile, percent=90)
    clip_weights(one, rule, per_channel=per_channel)
    compress.quantize(one, 4, per_channel=per_channel, symmetric=False)
    compress.quantize(other, 4, per_channel=per_channel, symmetric=False, calibrate=rule)
    for (name, a), b in zip(one.named_parameters(), other.parameters()):
        assert np.allclose(a.read().data, b.read().data, atol=1e-7), name


def test_clip_weight_moves_to_the_nearest_end():
    w = np.array([[-2.0, 0.5, 3.0], [-9.0, 1.0, 9.0]])
    assert clip_weight(w, -1, 1).tolist() == [[-1, 0.5, 1], [-1, 1, 1]]
    ends = np.array([-1.0, -5.0]), np.array([2.0, 6.0])
    assert clip_weight(w, *ends, axis=0).tolist() == [[-1, 0.5, 2], [-5, 1, 6]]
    assert clip_weight(w.astype(np.float32), -1, 1).dtype == np.float32
    for low, high in ((1, -1), (np.nan, 1)):
        with pytest.raises(ValueError, match="from low up to high"):
            clip_weight(w, low, high)


def test_layers_are_chosen_and_what_cannot_be_clipped_is_named():
    model = lenet()
    before = {name: p.data for name, p in model.named_parameters()}
    assert list(clip_weights(model, {"fc1": (-0.01, 0.02), "conv1": k_sigma})) == ["conv1.weight", "fc1.weight"]
    after = {name: p.data for name, p in model.named_parameters()}
    assert (after["fc1.weight"].min(), after["fc1.weight"].max()) == (np.float32(-0.01), np.float32(0.02))
    assert all((after[n] == before[n]).all() for n in before if n not in ("fc1.weight", "conv1.weight"))
    pruned = lenet()
    compress.prune(pruned, 0.5)
    zeros = pruned.get("fc1.weight").read().data == 0
    clip_weights(pruned)
    assert zeros.any() and ((pruned.get("fc1.weight").read().data == 0) == zeros).all()
    with pytest.raises(ValueError, match="no weight to compress is called fc9"):
        clip_weights(model, {"fc9": k_sigma})
    model.get("fc2").weight.data = np.full((10, 20), np.inf, np.float32)
    with pytest.raises(ValueError, match="fc2.weight cannot be clipped: .*NaN or Inf"):
        clip_weights(model)
    compress.quantize(model, 8, skip="fc2")
    with pytest.raises(ValueError, match="is read through a Quantize: clip weights before"):
        clip_weights(model, {"fc1": k_sigma})
