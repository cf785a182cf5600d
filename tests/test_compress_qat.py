"""Training with quantization: fake quantization, folding, the lines that follow, and the file that comes of it."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyopt
from tinyopt import Tensor, codec, compress, data, models, nn, optim, train
from tinyopt.codec.affine import scale_from_range
from tinyopt.compress.calibrate import percentile
from tinyopt.compress.fold import fold_norms
from tinyopt.compress.qat import insert_after, prepare_qat, ranges, read_by_products
from tinyopt.errors import ShapeError

DIGITS = data.digits()
IMAGES = DIGITS.train.images[:32]
PART = (DIGITS.train.images[:64], DIGITS.train.labels[:64])
floats = hnp.arrays(np.float32, (2, 5), elements=st.integers(-90, 90).map(lambda i: i / 8))


def with_moved_norms(model, rng=0):
    """The model with norms that do something, as after training."""
    rng = np.random.default_rng(rng)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            n = layer.num_features
            layer.weight.data, layer.bias.data = rng.uniform(0.2, 2, n).astype("f4"), rng.normal(size=n).astype("f4")
            layer.running_mean, layer.running_var = rng.normal(size=n).astype("f4"), rng.uniform(0.2, 2, n).astype("f4")
    return model.eval()


def small(bits=4, **choices):
    model = nn.Sequential(flatten=nn.Flatten(), fc1=nn.Linear(64, 8, rng=0), relu=nn.ReLU(), fc2=nn.Linear(8, 10, rng=1))
    return model, prepare_qat(model, PART, weight_bits=bits, activation_bits=bits, **choices)


def trained(model, callback, epochs=1, **choices):
    optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    train.fit(model, (PART, PART), epochs=epochs, batch_size=16, optimizer=optimizer, callbacks=[callback],
              progress=False, **choices)  # fmt: skip


# --- FakeQuantize ------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(floats, st.sampled_from([2, 3, 8]), st.booleans())
def test_a_rounded_activation_is_what_stored_integers_say(x, bits, symmetric):
    layer = nn.FakeQuantize(bits, symmetric)
    layer.observe(x.min(), x.max())
    y = layer(Tensor(x)).data
    q, scale, zero_point = codec.quantize(x, bits=bits, symmetric=symmetric)
    assert np.array_equal(y, codec.dequantize(q, scale, zero_point))
    assert (abs(y - x) <= scale * 0.5001).all() and (y[x == 0] == 0).all()
    assert np.array_equal(layer(Tensor(y)).data, y)


def test_gradients_pass_inside_the_range_and_stop_where_it_clips():
    layer = nn.FakeQuantize(3)
    layer.observe(0, 7)  # steps of 1
    x = Tensor(np.float32([-3, -0.6, -0.4, 0, 3.3, 7.4, 7.6, 20]), requires_grad=True)
    y = layer(x)
    assert np.array_equal(y.data, [0, 0, 0, 0, 3, 7, 7, 7])
    y.backward(np.arange(1, 9, dtype="f4"))
    assert np.array_equal(x.grad, [0, 0, 3, 4, 5, 6, 0, 0])


def test_it_is_the_identity_until_a_range_is_known():
    x = Tensor(np.float32([1.234]))
    layer = nn.FakeQuantize(2)
    assert not layer.has_range and layer(x) is x
    layer.observe(0, 0)  # a layer that was silent on all images
    assert layer.has_range and np.array_equal(layer(Tensor(np.zeros(3, "f4"))).data, [0, 0, 0])


def test_in_training_the_range_is_a_moving_average_and_in_eval_mode_it_stays():
    rng, layer, low, high = np.random.default_rng(0), nn.FakeQuantize(8, momentum=0.25), None, None
    for _ in range(5):
        x = rng.normal(1, 2, (4, 6)).astype("f4")
        layer(Tensor(x))
        low, high = (x.min(), x.max()) if low is None else (0.75 * low + 0.25 * x.min(), 0.75 * high + 0.25 * x.max())
        scale, zero_point = scale_from_range(np.float32(low), np.float32(high), symmetric=False)
        assert [layer.low, layer.high, layer.scale] == [pytest.approx(v, rel=1e-5) for v in (low, high, float(scale))]
        assert layer.zero_point == zero_point
    before = layer.scale
    layer.eval()(Tensor(100 * x))
    assert layer.scale is before
    still = nn.FakeQuantize(8)
    still.observe(-1, 1)
    still.train()(Tensor(100 * x))
    assert still.high == 1  # without a momentum, nothing follows


@pytest.mark.parametrize("ends, momentum, bits", [
    ((1, 0), None, 8), ((0, np.inf), None, 8), ((np.nan, 1), None, 8), ((0, 1), 0, 8), ((0, 1), 1.5, 8),
    ((0, 1), None, 0), ((0, 1), None, 17),
])  # fmt: skip
def test_a_wrong_range_momentum_or_number_of_bits_is_refused(ends, momentum, bits):
    with pytest.raises(ValueError, match="a range is|momentum is|bits in"):
        nn.FakeQuantize(bits, momentum=momentum).observe(*ends)


# --- into the tree -----------------------------------------------------------------------------------


def test_insert_after_adds_one_child_and_changes_no_other_name():
    model = models.resnet8(image_size=8, width=2, rng=0)
    before = [name for name, _ in model.named_modules()]
    assert insert_after(model, "block2.body.relu1", nn.FakeQuantize()) == "block2.body.relu1_quant"
    after = [name for name, _ in model.named_modules()]
    assert after.index("block2.body.relu1_quant") == after.index("block2.body.relu1") + 1
    assert [name for name in after if not name.endswith("_quant")] == before
    for name, sentence in (("block2.add", "stands in Residual"), ("", "no Sequential"),
                           ("block2.body.relu1", "behind it already")):  # fmt: skip
        with pytest.raises(ValueError, match=sentence):
            insert_after(model, name, nn.FakeQuantize())
    with pytest.raises(KeyError, match="no layer"):
        insert_after(model, "relu9", nn.FakeQuantize())


@pytest.mark.parametrize("name, places", [
    ("lenet5", ["pool1", "pool2", "relu1"]),
    ("mobilenet_tiny", ["relu1", *(f"block{i}.relu{j}" for i in (1, 2, 3, 4) for j in (1, 2)), "pool"]),
    ("resnet8", ["relu1", "block1.body.relu1", "relu2", "block2.body.relu1", "relu3", "block3.body.relu1", "relu4",
                 "pool"]),
])  # fmt: skip
def test_what_products_read_is_rounded_and_each_range_lays_the_same_line_again(name, places):
    model = with_moved_norms(models.make(name, image_size=8, rng=0))
    assert read_by_products(model, IMAGES[:1]) == ["input", *places]
    wanted = copy.deepcopy(model)
    prepare_qat(model, IMAGES, weight_bits=None, activation_bits=6)
    found = ranges(model)
    assert set(found) == set(places)  # in the tree's order
    for place in places:
        layer = model.get(f"{place}_quant")
        line = scale_from_range(*np.float32(found[place]), bits=6, symmetric=False)
        assert (layer.scale, layer.zero_point) == line and not layer.training
    assert abs(model(IMAGES).data - wanted(IMAGES).data).max() < 0.2 * abs(wanted(IMAGES).data).max()


def test_a_sum_read_by_a_product_is_rounded_behind_the_residual():
    block = nn.Residual(nn.Sequential(nn.Linear(64, 64, rng=0), nn.ReLU()))
    model = nn.Sequential(flat=nn.Flatten(), block=block, fc=nn.Linear(64, 10, rng=1))
    prepare_qat(model, IMAGES)
    assert list(ranges(model)) == ["block"]


# --- folding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mobilenet_tiny", "resnet8"])
def test_a_folded_model_computes_the_same_in_eval_mode(name):
    model = with_moved_norms(models.make(name, image_size=8, rng=0))
    compress.prune(model, 0.3)
    folded = copy.deepcopy(model)
    norms = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert fold_norms(folded, IMAGES[:1]) == norms
    wanted = model(IMAGES).data
    assert np.allclose(folded(IMAGES).data, wanted, atol=2e-5 * abs(wanted).max())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    masked = [name for name, p in model.named_parameters() if p.views]
    assert masked and all(((folded.get(n).read().data == 0) >= (model.get(n).read().data == 0)).all() for n in masked)


def test_a_norm_whose_layer_others_read_stays_and_a_rounded_weight_is_refused():
    linear = nn.Linear(4, 4, rng=0)
    model = nn.Sequential(linear, nn.Residual(nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()))).eval()
    assert fold_norms(model, np.ones((1, 4), "f4")) == []
    rounded = with_moved_norms(models.mobilenet_tiny(image_size=8, rng=0))
    compress.quantize(rounded)
    with pytest.raises(ValueError, match="fold norms before compressing: conv1.weight"):
        fold_norms(rounded, IMAGES[:1])


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("choices", [{"per_channel": True}, {"per_channel": False, "symmetric": False},
                                     {"group_size": 4}, {"calibrate": percentile}])  # fmt: skip
def test_after_every_step_the_line_is_that_of_the_weight_as_it_is(choices):
    model, qat = small(**choices)
    seen = []

    class Watch:
        def after_step(self, run):
            for name in ("fc1.weight", "fc2.weight"):
                parameter = run.model.get(name)
                fresh = nn.Linear(*parameter.data.shape[::-1], rng=0)
                fresh.weight.data = parameter.data
                compress.quantize(fresh, 4, **choices)
                seen.append(parameter.data)
                assert np.array_equal(parameter.read().data, fresh.weight.read().data)

    train.fit(model, (PART, None), epochs=1, batch_size=16, callbacks=[qat, Watch()], progress=False)
    assert len(seen) == 8 and (seen[0] != seen[-2]).any()


def test_a_step_moves_the_float_weight_by_the_gradient_of_the_rounded_one():
    """The straight-through estimator by hand: y = ŵ x, so ∂L/∂w = g x where the line does not clip w, else 0."""
    layer, x = nn.Linear(3, 1, bias=False, rng=0), np.float32([[1, 2, 4]])
    layer.weight.data = np.float32([[0.9, -2.6, 7.9]])
    compress.quantize(layer, 3, calibrate=lambda w, axis: (np.float32([-3]), np.float32([3])))  # steps of 1, to ±3
    y = layer(x)
    assert y.data == 1 * 1 - 3 * 2 + 3 * 4
    y.sum().backward()
    assert np.array_equal(layer.weight.grad, [[1, 2, 0]])


def test_training_helps_and_the_file_holds_integers_of_so_many_bits(tmp_path):
    path, sizes = tmp_path / "net.tiny", {}
    float_model, qat = small(2)
    before = float(train.classify(float_model.eval(), *map(Tensor, PART))[0].data)
    trained(float_model, qat, epochs=8)
    assert float(train.classify(float_model, *map(Tensor, PART))[0].data) < 0.9 * before
    tinyopt.save(float_model, path)
    sizes = {(name, part): n for name, kind, part, n in tinyopt.files.ledger(path) if kind == "integers"}
    assert sizes["fc1.weight", "integers"] == 64 * 8 * 2 / 8 and sizes["fc2.weight", "integers"] == 8 * 10 * 2 / 8
    loaded = tinyopt.load(path)
    assert np.array_equal(loaded(IMAGES).data, float_model(IMAGES).data) and ranges(loaded) == ranges(float_model)
    before = ranges(loaded)
    loaded.train()(100 * IMAGES)
    assert ranges(loaded) == before  # once trained, ranges stay


def test_a_stopped_run_goes_on_to_the_same_bits_and_the_best_weights_keep_their_lines(tmp_path):
    once, again = small(), small()
    trained(*once, epochs=3, patience=3)
    trained(*again, epochs=1, patience=3, checkpoint=tmp_path / "run")
    resumed = small()
    trained(*resumed, epochs=3, patience=3, checkpoint=tmp_path / "run")
    for name, array in once[0].state_dict().items():
        assert np.array_equal(array, resumed[0].state_dict()[name]), name


def test_pruned_weights_stay_zero_while_the_lines_move():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=0))
    compress.prune(model, 0.8)
    gone = model.get("1.weight").read().data == 0
    trained(model, prepare_qat(model, PART, weight_bits=4, activation_bits=None, symmetric=False))
    assert ((model.get("1.weight").read().data == 0) >= gone).all()


# --- refused -----------------------------------------------------------------------------------------


class OwnForward(nn.Module):
    def __init__(self):
        self.fc1, self.fc2 = nn.Linear(64, 8, rng=0), nn.Linear(8, 10, rng=1)

    def forward(self, x):
        return self.fc2(self.fc1(x.reshape(len(x), 64)).relu())


@pytest.mark.parametrize("choices, sentence", [
    ({"weight_bits": 0}, "bits in"), ({"activation_bits": 17}, "bits in"), ({"group_size": 7}, "group size"),
    ({"weight_bits": None, "activation_bits": None}, "nothing to round"),
])  # fmt: skip
def test_bad_settings_are_refused_and_the_model_stays_float(choices, sentence):
    model = models.lenet5(image_size=8, rng=0)
    with pytest.raises((ValueError, ShapeError), match=sentence):
        prepare_qat(model, PART, **choices)
    assert not ranges(model) and not any(p.views for p in model.parameters())


def test_images_and_models_that_cannot_be_ranged_are_refused():
    model = models.lenet5(image_size=8, rng=0)
    with pytest.raises(KeyError, match="no layer or parameter is called 'conv9'"):
        prepare_qat(model, PART, skip="conv9")
    with pytest.raises(ValueError, match="needs examples"):
        prepare_qat(model, (IMAGES[:0], DIGITS.train.labels[:0]))
    with pytest.raises(ValueError, match="finite"):
        prepare_qat(model, IMAGES * np.float32(np.nan))
    with pytest.raises(ValueError, match="fc2 reads what the op 'relu' made"):
        prepare_qat(OwnForward(), PART)  # a reshape before fc1 makes no new numbers
    with pytest.raises(ValueError, match="rounded already, by pool1_quant"):
        prepare_qat(model, PART)
        prepare_qat(model, PART)


def test_skip_leaves_a_layer_and_what_it_reads():
    model = models.lenet5(image_size=8, rng=0)
    prepare_qat(model, PART, skip=("conv2", "fc2"))
    assert list(ranges(model)) == ["pool2"]
    assert [n for n, p in model.named_parameters() if p.views] == ["conv1.weight", "fc1.weight"]
