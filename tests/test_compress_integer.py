"""Whole networks in integers alone: against Python's own integers, against their floats, and through a file."""

import functools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import measure, models, nn, ops
from tinyopt.compress.fold import fold_norm
from tinyopt.compress.integer import integerize, quantize_layer, reference, step_through
from tinyopt.compress.observers import PercentileObserver
from tinyopt.nn import integer

RNG = np.random.default_rng(3)
IMAGES = RNG.random((24, 1, 8, 8), dtype=np.float32)


def lived_in(model, seed=0):
    """The model in eval mode, with norms that have measured something and shift what they give."""
    rng = np.random.default_rng(seed)
    for norm in (m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))):
        draws = rng.uniform(0.5, 2, (2, norm.num_features)), rng.normal(size=(2, norm.num_features))
        norm.weight.data, norm.running_var, norm.bias.data, norm.running_mean = (
            array.astype(np.float32) for pair in draws for array in pair
        )
    return model.eval()


class Own(nn.Module):
    """Ops in a forward, a branch that is read twice, two products in one sum, and an x + x."""

    def __init__(self):
        self.one, self.two = nn.Conv2d(1, 3, 3, padding=1, rng=0), nn.Conv2d(3, 3, 1, rng=1)
        self.norm, self.fc = nn.BatchNorm1d(5), nn.Linear(3 * 9, 5, bias=False, rng=2)

    def forward(self, x):
        x = self.one(x).relu()
        x = ops.max_pool2d(x + self.two(x), kernel_size=2)
        x = ops.avg_pool2d(self.two(x) + self.two(x), kernel_size=2, stride=1)
        x = self.norm(self.fc(x.reshape(x.shape[0], -1))).relu()
        return x + x


MODELS = {
    "lenet5": lived_in(models.lenet5(8, filters=(3, 4), units=9, rng=0)),
    "lenet_300_100": lived_in(models.lenet_300_100(8, rng=0)),
    "resnet8": lived_in(models.resnet8(8, width=3, rng=0)),
    "mobilenet_tiny": lived_in(models.mobilenet_tiny(8, width=0.2, rng=0)),
    "own": lived_in(Own()),
}
PRODUCTS_AND_SUMS = integer.IntegerLinear, integer.IntegerConv2d, integer.IntegerAvgPool2d, integer.IntegerAdd
NETS = {name: integerize(model, IMAGES) for name, model in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_of_a_network_is_exactly_the_reference(name):
    net, few = NETS[name], IMAGES[:2]
    expected = reference.network(net, few)
    with measure.capture(net) as seen:
        y = net(few)
    for layer, values in expected.items():
        if layer:
            assert np.array_equal(seen[layer].output.data, values), layer
    assert np.array_equal(net.integers(few).data, values)
    assert len(expected) == len(net.wires)  # all but the last, and the input
    assert y.dtype == np.float32


@pytest.mark.parametrize("name", MODELS)
def test_int8_goes_in_and_int32_comes_out(name):
    with measure.capture(NETS[name]) as seen:
        NETS[name](IMAGES)
    kinds = set()
    for layer, module in NETS[name].named_children():
        reads, makes = {x.dtype for x in seen[layer].inputs}, seen[layer].output.dtype
        kinds.add(type(module))
        if isinstance(module, PRODUCTS_AND_SUMS):
            assert (reads, makes) == ({np.dtype(np.int8)}, np.int32)
        elif isinstance(module, integer.Requantize):
            assert (reads, makes) == ({np.dtype(np.int32)}, np.int8)
            assert module.multiplier.dtype == np.int32 and (module.multiplier >= 2**30).all()
        elif not isinstance(module, (integer.QuantizeInput, integer.Dequantize)):  # it hands on integers that it read
            assert isinstance(module, (integer.IntegerMaxPool2d, nn.Flatten)) and reads == {makes}
            assert makes in (np.int8, np.int32)
        if hasattr(module, "weight"):
            assert module.weight.dtype == np.int8 and module.weight.min() >= -127 and module.bias.dtype == np.int32
    assert not list(NETS[name].parameters()) and integer.Requantize in kinds
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d, nn.ReLU)) for m in NETS[name].modules())


@pytest.mark.parametrize("name", ["lenet5", "lenet_300_100", "resnet8", "mobilenet_tiny"])
def test_it_multiplies_as_often_as_the_float_network(name):
    shape = IMAGES.shape[1:]
    assert measure.summary(NETS[name], shape).macs == measure.summary(MODELS[name], shape).macs > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_integers_stand_for_nearly_the_floats(name):
    with measure.inference(MODELS[name]) as model:
        expected, y = model(IMAGES).data, NETS[name](IMAGES).data
    assert np.abs(y - expected).max() <= 0.06 * np.abs(expected).max()
    assert (y.argmax(axis=1) == NETS[name].integers(IMAGES).data.argmax(axis=1)).all()  # all logits on one scale


@pytest.mark.parametrize("name", MODELS)
def test_a_file_holds_int8_and_computes_the_same_integers(name, tmp_path):
    net = NETS[name]
    size = tinyopt.save(net, tmp_path / "net.top")
    loaded = tinyopt.load(tmp_path / "net.top")  # also of a class that the file does not know
    assert np.array_equal(loaded.integers(IMAGES).data, net.integers(IMAGES).data)
    assert np.array_equal(loaded(IMAGES).data, net(IMAGES).data)
    for (key, a), (other, b) in zip(net.state_dict().items(), loaded.state_dict().items()):
        assert key == other and a.dtype == b.dtype and np.array_equal(a, b)
    weights = sum(n for tensor, *_, n in tinyopt.files.ledger(tmp_path / "net.top") if tensor.endswith(".weight"))
    assert weights == sum(m.weight.size for m in net.modules() if hasattr(m, "weight")) <= size


def test_lenet5_takes_a_quarter_of_its_bytes(tmp_path):
    model = models.lenet5(rng=0).eval()
    floats = tinyopt.save(model, tmp_path / "float")
    net = integerize(model, RNG.random((2, 1, 28, 28), dtype=np.float32))
    assert tinyopt.save(net, tmp_path / "int8") == os.path.getsize(tmp_path / "int8") <= 0.27 * floats


# --- on arrays -----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), dense=st.booleans(), biased=st.booleans())
def test_a_folded_norm_computes_what_both_computed(seed, dense, biased):
    rng = np.random.default_rng(seed)
    layer = nn.Linear(3, 4, bias=biased, rng=rng) if dense else nn.Conv2d(2, 4, 3, bias=biased, rng=rng)
    norm = nn.BatchNorm1d(4) if dense else nn.BatchNorm2d(4)
    model = lived_in(nn.Sequential(layer, norm).astype("float64"), seed).astype("float64")
    x = rng.normal(size=(5, 3) if dense else (5, 2, 6, 4))
    weight, bias = fold_norm(
        layer.weight.data, layer.bias.data if biased else None, norm.weight.data, norm.bias.data, norm.running_mean,
        norm.running_var, eps=norm.eps,
    )  # fmt: skip
    folded = (ops.linear if dense else ops.conv2d)(x, weight, bias).data
    assert np.abs(folded - model(x).data).max() <= 1e-12


@given(seed=st.integers(0, 99), per_channel=st.booleans(), zero_point=st.integers(-128, 127))
def test_a_quantized_layer_stands_for_its_floats(seed, per_channel, zero_point):
    rng = np.random.default_rng(seed)
    weight, bias, in_scale = rng.normal(size=(3, 6)) * rng.uniform(0.01, 3, (3, 1)), rng.normal(size=3), 0.02
    w, b, scale = quantize_layer(weight, bias, in_scale, zero_point, per_channel=per_channel)
    assert (w.dtype, b.dtype) == (np.int8, np.int32) and abs(w.astype(int)).max() == 127
    assert per_channel == bool((abs(w.astype(int)).max(axis=1) == 127).all() and len(set(scale)) == 3)
    assert (abs(scale[:, None] * w - weight) <= scale[:, None] / 2 + 1e-12).all()
    steps = b + zero_point * w.astype(int).sum(axis=1)
    assert (abs(steps * in_scale * scale - bias) <= in_scale * scale / 2 + 1e-12).all()


def test_channels_without_weights_keep_their_bias():
    net = nn.Sequential(a=nn.Linear(4, 3, rng=0), relu=nn.ReLU(), b=nn.Linear(3, 2, rng=1))
    net.get("a.weight").data = np.float32([[0, 0, 0, 0], [1e-12, 0, 0, 0], [1, -1, 2, 1]])
    net.get("a.bias").data = np.float32([0.7, 0.5, 0])
    x = RNG.random((9, 4), dtype=np.float32)
    assert np.abs(integerize(net, x)(x).data - net(x).data).max() <= 0.01
    for name in ("a", "b"):
        net.get(f"{name}.weight").data = net.get(f"{name}.weight").data * 0
    assert np.abs(integerize(net, x)(x).data - net.get("b.bias").data).max() <= 1e-6
    net.get("b.bias").data = np.zeros(2, np.float32)
    assert integerize(net, x * 0)(x).data.tolist() == [[0, 0]] * 9


# --- how it is found out ---------------------------------------------------------------------------------


def test_names_order_and_fusion():
    assert [name for name, _ in NETS["lenet5"].wires] == [
        "quantize", "conv1", "pool1", "pool1_requantize", "conv2", "pool2", "pool2_requantize", "flatten",
        "fc1", "fc1_requantize", "fc2", "dequantize",
    ]  # fmt: skip
    assert NETS["lenet5"].get("fc1_requantize").relu and not NETS["lenet5"].get("pool1_requantize").relu
    wires = dict(NETS["resnet8"].wires)
    assert wires["block1.add"] == ["block1.body.conv2_requantize", "conv1_requantize"]
    assert wires["block2.add"] == ["block2.body.conv2_requantize", "block2.shortcut.conv_requantize"]
    assert wires["block2.add_requantize"] == ["block2.add"] and NETS["resnet8"].get("block2.add_requantize").relu
    assert not NETS["resnet8"].get("block2.body.conv2_requantize").relu
    assert len({id(layer) for layer in NETS["own"].layers.values()}) == len(NETS["own"].wires)
    again = integerize(MODELS["resnet8"], (IMAGES, np.zeros(24, int)))  # a part; the model is as it was
    assert all(np.array_equal(a, b) for a, b in zip(again.state_dict().values(), NETS["resnet8"].state_dict().values()))


def test_observers_choose_the_range_and_what_lies_beyond_saturates():
    few = functools.partial(PercentileObserver, 90)
    tight, wide = integerize(MODELS["lenet5"], IMAGES, observer=few, batch_size=7), NETS["lenet5"]
    assert tight.get("quantize").scale < wide.get("quantize").scale
    with measure.capture(tight) as seen:
        tight(IMAGES)
    assert (seen["pool1_requantize"].output.data == 127).mean() > 0.05
    assert np.array_equal(reference.network(tight, IMAGES[:1])["fc2"], tight.integers(IMAGES[:1]).data)


def test_views_low_rank_and_fake_quantization_are_read():
    net = nn.Sequential(
        look=nn.FakeQuantize(), fc=nn.LowRankLinear(4, 6, 2, rng=0), see=nn.FakeQuantize(), drop=nn.Dropout(),
        out=nn.SparseLinear(6, 2, layout="csr", rng=1),
    ).eval()  # fmt: skip
    net.get("out.weight").prune(np.arange(12).reshape(2, 6) % 3 > 0)
    net.get("see").observe(-2.0, 3.1)
    x = RNG.random((9, 4), dtype=np.float32)
    made = integerize(net, x)
    assert [name for name, _ in made.wires] == [
        "quantize", "fc", "fc_requantize", "fc_again", "fc_again_requantize", "out", "dequantize"]  # fmt: skip
    assert (made.get("out").weight == 0).sum() == 4
    step = np.float32(5.1) / 255
    assert made.get("fc_again_requantize").zero_point == round(-128 + 2 / step)
    assert np.abs(made(x).data - net(x).data).max() <= 0.03
    net.replace("see", nn.FakeQuantize(bits=4))
    net.get("see").observe(-2.0, 3.1)
    with pytest.raises(ValueError, match=r"'see' \(FakeQuantize\) cannot be integerized: .*8 bits"):
        integerize(net, x)


def test_a_step_by_step_account_ends_at_the_layers_own_integer(capsys):
    for name, layer, index, after in (
        ("resnet8", "conv1", (1, 0, 7), "conv1_requantize"), ("mobilenet_tiny", "block2.conv1", (3, 2, 0), None),
        ("resnet8", "block2.add", (2, 1, 1), None), ("resnet8", "fc", 3, "fc"),
        ("lenet5", "pool1_requantize", (2, 1, 0), "pool1_requantize"),
    ):  # fmt: skip
        net = NETS[name]
        with measure.capture(net) as seen:
            net(IMAGES[4:5])
        number = step_through(net, IMAGES[4], layer, index)
        assert number == seen[after or f"{layer}_requantize"].output.data[0][index]
        text = capsys.readouterr().out
        assert text.startswith(f"{layer} (") and (layer == "fc" or ("shift" in text and "clamp" in text))
        if layer in ("conv1", "fc"):
            acc = seen[layer].output.data[0][index]
            assert f"= {acc}\n" in text and "bias" in text
    step_through(NETS["lenet5"], IMAGES[4:5], "conv1", (1, 2, 3))
    assert "if it is the largest of its window in pool1:" in capsys.readouterr().out
    with pytest.raises(IndexError, match=r"conv1 makes \(3, 8, 8\).*no place \(3, 0, 0\)"):
        step_through(NETS["resnet8"], IMAGES[0], "conv1", (3, 0, 0))
    with pytest.raises(TypeError, match="flatten is a Flatten, which has no accumulators"):
        step_through(NETS["lenet5"], IMAGES[0], "flatten", (0,))


# --- what has no integer version ---------------------------------------------------------------------------


class Does(nn.Module):
    """A layer that computes what it is told."""

    def __init__(self, function):
        self.function, self.scale = function, nn.Parameter(np.ones((4, 4), np.float32))

    def forward(self, x):
        return self.function(self, x)


def dense(*layers):
    return nn.Sequential(nn.Linear(4, 4, rng=0), *layers, nn.Linear(4, 2, rng=0))


REFUSED = {
    "unknown op": (dense(Does(lambda _, x: x.sigmoid())), r"'1' \(Does\) cannot be.*no integer version of 'sigmoid'"),
    "norm after a ReLU": (dense(nn.ReLU(), nn.BatchNorm1d(4)), r"'2' \(BatchNorm1d\) cannot.*follow a convolution"),
    "norm first": (nn.Sequential(nn.BatchNorm1d(4)), r"'0' \(BatchNorm1d\) cannot be integerized"),
    "ReLU first": (nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), r"'0' \(ReLU\) cannot be integerized: a ReLU is the"),
    "ReLU of what is read twice": (dense(Does(lambda _, x: x.relu() + x)), r"'1' \(Does\) cannot.*nothing else may"),
    "sum with a parameter": (dense(Does(lambda m, x: x + m.scale)), r"'1' \(Does\) cannot.*not computed from the"),
    "weight of a forward": (dense(Does(lambda m, x: ops.linear(x, m.scale * 2))), "'1' .*its weight is computed in"),
    "reshape": (dense(Does(lambda _, x: x.reshape(-1, 2).reshape(-1, 4))), r"'1' \(Does\) cannot.*only flattening"),
    "layer past its ops": (dense(Does(lambda _, x: tinyopt.Tensor(x.data + 1))), "'1' .Does. cannot be integerized"),
    "NaN": (dense(), r"'0' \(Linear\) cannot be integerized: its weight holds NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_the_layer_and_the_reason_are_named(what):
    model, message = REFUSED[what]
    if what == "NaN":
        model.get("0.weight").data = np.full((4, 4), np.nan, np.float32)
    with pytest.raises(ValueError, match=message):
        integerize(model.eval(), RNG.random((4, 4), dtype=np.float32))


def test_a_sum_that_broadcasts_is_refused():
    model = Own().eval()
    model.two, model.fc = nn.Conv2d(3, 1, 1, rng=0), nn.Linear(9, 5, rng=1)
    with pytest.raises(ValueError, match=r"forward \(Own\) cannot.*adds \(1, 3, 8, 8\) and \(1, 1, 8, 8\)"):
        integerize(model, IMAGES)


def test_inputs_that_cannot_calibrate():
    model, x = dense(nn.ReLU()), RNG.random((4, 4), dtype=np.float32)
    with pytest.raises(TypeError, match="an array, or a part such as data.train; got 8"):
        integerize(model, 8)
    with pytest.raises(ValueError, match="calibration needs examples"):
        integerize(model, x[:0])
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="the calibration images hold NaN or infinity"):
            integerize(model, np.where(np.arange(4) == 2, wrong, x).astype(np.float32))
    with pytest.raises(ValueError, match=r"is applied to \(1, 3, 4\).*Flatten first"):
        integerize(model, np.ones((2, 3, 4), np.float32))
    model.get("0.weight").data = np.full((4, 4), 1e38, np.float32)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="on the calibration images, '1' makes NaN or inf"):
        integerize(model, x + 10)
    moody = Does(lambda _, x: x.relu() if len(x) < 3 else x + x)
    with pytest.raises(ValueError, match="model ran 'add', where its trace has 'relu': it must take one way for all"):
        integerize(dense(moody), x)
    with pytest.raises(ValueError, match="computes nothing|has 1 and 2"):
        integerize(Does(lambda _, x: (x.relu(), x)), x)


@settings(max_examples=5)
@given(n=st.integers(0, 3))
def test_any_batch_runs_and_an_image_does_not_depend_on_the_others(n):
    for net in (NETS["resnet8"], NETS["lenet5"]):
        assert np.array_equal(net.integers(IMAGES[:n]).data, net.integers(IMAGES).data[:n])
