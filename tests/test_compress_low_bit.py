"""Binary and ternary weights: the papers' numbers by brute force, gradients by hand, training, files."""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import Tensor, compress, data, files, models, nn, optim, train
from tinyopt.compress.binary import Follow, binarize, binarize_inputs, binary_view, glorot_scale, mean_scale
from tinyopt.compress.formats import store_as
from tinyopt.compress.ternary import finish_ttq, prepare_ttq, ternarize, ttq_values, twn_line
from tinyopt.errors import FormatError, ShapeError

IMAGES = np.random.default_rng(0).random((12, 1, 8, 8), dtype=np.float32)
LABELS = np.arange(12) % 10


def small():
    return models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)


def rows(seed, shape=(3, 7)):
    return np.random.default_rng(seed).normal(size=shape)


# --- numbers --------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=st.integers(0, 999))
def test_no_signs_and_no_scale_are_nearer_than_xnor_nets(seed):
    weight = rows(seed)
    alpha = mean_scale(weight)
    ours = ((weight - alpha * np.sign(weight)) ** 2).sum(axis=1)
    signs = np.array(list(itertools.product([-1, 1], repeat=7)))  # (128, 7)
    best = np.maximum(signs @ weight.T / 7, 0)  # (128, 3): the parabola's minimum for each choice of signs
    errors = ((weight[None] - best[:, :, None] * signs[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(ours, errors.min(axis=0), rtol=1e-12)


@settings(max_examples=10)
@given(seed=st.integers(0, 999), per_channel=st.booleans())
def test_the_ternary_threshold_is_the_papers_and_its_scale_the_best_for_it(seed, per_channel):
    weight = rows(seed, (3, 40))
    threshold, alpha = twn_line(weight, per_channel=per_channel)
    parts = weight if per_channel else weight.reshape(1, -1)
    assert threshold.shape == alpha.shape == ((3, 1) if per_channel else ())

    def error(row, t, a):
        return ((row - a * np.sign(row) * (abs(row) > t)) ** 2).sum()

    for row, t, a in zip(parts, np.ravel(threshold), np.ravel(alpha)):
        assert t == pytest.approx(0.7 * sum(map(abs, row)) / len(row))
        assert all(error(row, t, a) <= error(row, t, a + step) for step in (-1e-3, 1e-3))
        sizes = np.sort(abs(row))[::-1]  # the best of all thresholds, by trying each
        best = (row**2).sum() - (np.cumsum(sizes) ** 2 / np.arange(1, len(row) + 1)).max()
        assert best <= error(row, t, a) + 1e-9 and error(row, t, a) <= 1.2 * best


def test_hand_numbers_with_and_without_a_mask():
    weight = np.float32([[1, -3, 0, 2], [-1, -1, 4, -1]])
    keep = np.array([[True, True, False, False], [False] * 4])
    assert mean_scale(weight).tolist() == [[1.5], [1.75]] and mean_scale(weight, keep).tolist() == [[2], [0]]
    threshold, alpha = twn_line(weight)
    np.testing.assert_allclose(threshold, [[1.05], [1.225]], rtol=1e-6)
    assert alpha.tolist() == [[2.5], [4]]
    assert np.allclose(twn_line(weight, keep), [[[1.4], [0]], [[3], [0]]])
    assert np.allclose(twn_line(weight, keep, per_channel=False), [1.4, 3])
    assert np.allclose(ttq_values(weight, 0.25), [1, (2 + 4) / 2, 3])
    assert glorot_scale((500, 800)) == pytest.approx((1.5 / 1300) ** 0.5)
    assert glorot_scale((50, 20, 5, 5)) == pytest.approx((6 / (25 * 70)) ** 0.5 / 2)  # as the authors write it
    for array in (mean_scale(weight, keep), threshold, alpha, *ttq_values(weight), binary_view(weight, 0.5).scale):
        assert array.dtype == np.float32


def gradient(view, x, g):
    parameter = nn.Parameter(np.float64(x))
    parameter.attach(view)
    y = parameter * 1.0
    y.backward(np.float64(g))
    return y.numpy().tolist(), parameter.grad.tolist()


def test_values_and_gradients_are_the_papers():
    x, g = [[0.5, -0.5, 0.0, -0.0, 2, -1.0]], [[1, 2, 3, 4, 5, 6]]
    assert gradient(binary_view(np.float64(x), 1.0), x, g) == ([[1, -1, 1, 1, 1, -1]], [[1, 2, 3, 4, 0, 6]])
    y, grad = gradient(binary_view(np.float64(x), 0.5), x, g)  # ±H, clipped beyond H
    assert y == [[0.5, -0.5, 0.5, 0.5, 0.5, -0.5]] and grad == [[1, 2, 3, 4, 0, 0]]
    y, grad = gradient(binary_view(np.float64(x)), x, g)  # α = 4/6, n = 6: g · (1/n + α · 1[|x| ≤ 1])
    np.testing.assert_allclose(y, np.array([[1, -1, 1, 1, 1, -1]]) * 4 / 6)
    np.testing.assert_allclose(grad, [[5 / 6, 10 / 6, 15 / 6, 20 / 6, 5 / 6, 5]])
    view = nn.Ternary(*np.float64([[[0.5]], [[3]], [[2]]]))
    assert gradient(view, x, g) == ([[0, 0, 0, 0, 3, -2]], g)


def test_trained_ternary_gradients_are_the_papers():
    layer = nn.TrainedTernaryLinear(4, 1, bias=False, fraction=0.5)
    layer.weight.data = np.float32([[2, -1.5, 0.5, 1.25]])
    layer.positive.data, layer.negative.data = np.array(3, "f4"), np.array(0.5, "f4")
    y = layer(Tensor(np.float32([[1, 2, 3, 4]])))
    assert y.numpy().tolist() == [[3 * 1 - 0.5 * 2 + 3 * 4]]
    y.backward(np.float32([[1]]))
    assert layer.weight.grad.tolist() == [[3 * 1, 0.5 * 2, 3, 3 * 4]]
    assert layer.positive.grad == 1 + 4 and layer.negative.grad == -2


# --- models and training --------------------------------------------------------------------------

METHODS = {
    "xnor": lambda model: binarize(model),
    "glorot": lambda model: binarize(model, "glorot"),
    "one": lambda model: binarize(model, 1.0),
    "twn": lambda model: ternarize(model),
    "twn by layer": lambda model: ternarize(model, per_channel=False),
    "ttq": lambda model: prepare_ttq(model, fraction=0.3),
}


def fit(model, follow, steps=6, **settings):
    callbacks = [follow] if isinstance(follow, Follow) else []
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    return train.fit(model, ((IMAGES, LABELS), None), epochs=steps // 2, batch_size=6, optimizer=optimizer,
                     callbacks=callbacks, progress=False, **settings)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_with_few_values_and_the_file_gives_every_bit_back(method, tmp_path):
    model, path = small(), tmp_path / "model.top"
    n_float = files.save(model, path)
    follow = METHODS[method](model)
    fit(model, follow)
    trained = model.eval()(Tensor(IMAGES)).numpy()
    finish_ttq(model)
    assert np.array_equal(model.eval()(Tensor(IMAGES)).numpy(), trained)
    by_row = method in ("xnor", "twn")
    for name, parameter in model.named_parameters():
        if not name.endswith("weight"):
            continue
        seen = parameter.read().numpy().reshape(len(parameter.data), -1)
        assert all(len(np.unique(row)) <= (3 if method[0] == "t" else 2) for row in (seen if by_row else [seen]))
        if by_row:  # the view is that of the weights as they are now
            line = mean_scale(parameter.data) if method == "xnor" else twn_line(parameter.data)[1]
            assert np.array_equal(abs(seen).max(axis=1), line.reshape(-1))
        limit = {"xnor": 1, "one": 1, "glorot": glorot_scale(parameter.shape)}.get(method, np.inf)
        assert abs(parameter.data).max() <= np.float32(limit)
    for coding in ("packed", "huffman"):
        n_bytes = files.save(model, path, coding=coding)
        assert n_bytes == os.path.getsize(path) < n_float / 3
        assert np.array_equal(files.load(path)(Tensor(IMAGES)).numpy(), trained)


def test_three_values_per_row_are_what_twn_leaves():
    model = small()
    ternarize(model)
    for parameter in (p for p in model.parameters() if p.views):
        for row in parameter.read().numpy():
            values = np.unique(row)
            assert len(values) <= 3 and set(values) <= {0, row.max(), -row.max()}


@pytest.mark.parametrize("scale", ["mean", "glorot"])
def test_signs_are_learned(scale):
    digits, model = data.digits(), models.lenet_300_100(image_size=8, rng=0)
    follow, optimizer = binarize(model, scale), optim.Adam(model.parameters(), lr=0.01)
    history = train.fit(model, digits, epochs=2, optimizer=optimizer, callbacks=[follow], progress=False)
    assert history[1]["loss"] < 0.6 * history[0]["loss"] and history[1]["val_accuracy"] > 0.8


def test_a_resumed_run_ends_as_one_that_never_stopped(tmp_path):
    ends = []
    for stops in (False, True):
        model = small()
        if stops:
            fit(model, binarize(model), steps=2, checkpoint=tmp_path / "run")
            model = small()
        fit(model, binarize(model), checkpoint=tmp_path / "run" if stops else None)
        ends.append(model.state_dict())
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_lenet5_takes_a_byte_for_eight_weights_or_five(tmp_path):
    model = models.lenet5(rng=0)
    n_float = files.save(model, tmp_path / "float.top")
    sizes = {}
    for name, method in (("binary", binarize), ("ternary", ternarize)):
        method(model)  # the second view takes the place of the first
        sizes[name] = files.save(model, tmp_path / "model.top")
        rows = {row[0]: row[3] for row in files.ledger(tmp_path / "model.top") if row[2] in ("signs", "trits")}
        per_byte = {"binary": 8, "ternary": 5}[name]
        assert rows == {f"{layer}.weight": -(-model.get(f"{layer}.weight").size // per_byte)
                        for layer in ("conv1", "conv2", "fc1", "fc2")}  # fmt: skip
    assert os.path.getsize(tmp_path / "model.top") == sizes["ternary"] <= 0.06 * n_float
    assert sizes["binary"] <= 0.04 * n_float


@settings(max_examples=25)
@given(kind=st.sampled_from(["mean", 0.3, "twn", "ttq"]), coding=st.sampled_from(["packed", "huffman"]),
       dtype=st.sampled_from(["float32", "float64"]), pruned=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_a_stored_weight_is_read_back_bit_for_bit(kind, pruned, coding, seed, dtype):
    rng = np.random.default_rng(seed)
    layer = nn.Linear(int(rng.integers(1, 12)), int(rng.integers(1, 5)), rng=seed).astype(dtype)
    if rng.random() < 0.2:
        layer.weight.data = layer.weight.data * 0  # nothing to scale
    if pruned:
        layer.weight.prune(rng.random(layer.weight.shape) < 0.5)
    if kind == "twn":
        ternarize(layer)
    elif kind == "ttq":  # values as training may leave them: small, 0, negative
        layer.weight.attach(nn.Ternary(*np.array([0.1, *rng.choice([-0.2, 0, 0.05, 3], 2)], dtype)))
    else:
        binarize(layer, kind)
    data, views = files.unpack(*files.pack(layer.weight, "dense", coding), layer.weight.shape)
    again = nn.Parameter(data)
    for view in views:
        again.attach(view)
    a, b = layer.weight.read().numpy() + 0.0, again.read().numpy() + 0.0
    assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


def test_a_masked_sign_is_one_of_three_values_and_only_survivors_are_stored(tmp_path):
    model = small()
    compress.prune(model, 0.6, scope="layer")
    keep = model.get("fc1.weight").view(nn.Mask).keep
    fit(model, binarize(model))
    seen = model.get("fc1.weight").read().numpy()
    assert np.array_equal(seen != 0, keep) and all(len(np.unique(abs(row))) <= 2 for row in seen)
    files.save(model, tmp_path / "model.top")
    rows = {row[0]: row[3] for row in files.ledger(tmp_path / "model.top") if row[2] == "signs"}
    assert rows["fc1.weight"] == -(-keep.sum() // 8)
    assert np.array_equal(files.load(tmp_path / "model.top").get("fc1.weight").read().numpy(), seen + 0.0)


def test_damaged_bits_are_refused():
    header = {"scale": [], "limit": 1.0, "share": 0.0}
    with pytest.raises(FormatError, match="9 values of 1 bits take 2 bytes; got 1"):
        files.unpack([["binary", header]], {"signs": b"1", "scale": b"1234"}, (9,))
    with pytest.raises(FormatError, match="6 numbers of three values take 2 bytes; got 3"):
        header = {"threshold": [], "positive": []}
        files.unpack([["ternary", header]], {"trits": b"123", "threshold": b"1234", "positive": b"1234"}, (6,))


# --- what is refused ------------------------------------------------------------------------------


def spoiled(value):
    model = small()
    weight = model.get("fc1.weight").data.copy()
    weight[0, 0] = value
    model.get("fc1.weight").data = weight
    return model


def after(technique, *arguments, **settings):
    model = small()
    technique(model, *arguments, **settings)
    return model


WRONG = [
    *[(lambda v=v: spoiled(v), f, "fc1.weight holds NaN or inf") for v in (np.nan, np.inf)
      for f in (binarize, ternarize, prepare_ttq)],
    *[(lambda t=t: after(*t), f, f"conv1.weight: a weight is stored in one way.*{kind}.*bake")
      for t, kind in (([compress.quantize], "Quantize"), ([compress.share], "Codebook"), ([store_as, "nf4"], "Format"))
      for f in (binarize, ternarize)],
    (lambda: after(binarize), prepare_ttq, "conv1.weight is stored in fewer bits already: bake"),
    (small, lambda m: binarize(m, "median"), "scale is 'mean' .*'glorot' or a number above 0 .*got 'median'"),
    (small, lambda m: binarize(m, 0), "a number above 0 .*got 0"),
    (small, lambda m: binarize(m, -1.0), "a number above 0 .*got -1.0"),
    (small, lambda m: binarize(m, np.nan), "a number above 0 .*got nan"),
    (small, lambda m: prepare_ttq(m, fraction=1), r"largest weight becomes 0, in \[0, 1\); got 1"),
    (lambda: after(compress.lowrank.factorize, {"fc1": 2}), prepare_ttq, "fc1.down is of a LowRankLinear. Name it in"),
    (small, lambda m: binarize_inputs(m, "conv2", IMAGES), "read by Linear layers; 'conv2' is a Conv2d"),
    (small, lambda m: binarize_inputs(m, ["fc1", "fc2"], IMAGES), "'fc2' reads nothing below 0.*Take away the ReLU"),
]  # fmt: skip


@pytest.mark.parametrize("make, technique, sentence", WRONG)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_changes_nothing(make, technique, sentence):
    model = make()
    before, kinds = model.state_dict(), [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=sentence):
        technique(model)
    now = model.state_dict()
    assert now.keys() == before.keys() and [type(module) for module in model.modules()] == kinds
    assert all(before[name].tobytes() == now[name].tobytes() for name in before)


def test_unknown_names_and_scales_of_another_shape_are_refused():
    with pytest.raises(KeyError, match="fc9"):
        binarize_inputs(small(), "fc9", IMAGES)
    with pytest.raises(ShapeError, match=r"scale is \(\), or one for each row.*got \(2,\) for a weight \(2, 4\)"):
        nn.Parameter(np.ones((2, 4), "f4")).attach(nn.Binary(np.ones(2, "f4")))
    with pytest.raises(ShapeError, match=r"negative is .*got \(4,\)"):
        nn.Parameter(np.ones((2, 4), "f4")).attach(nn.Ternary(np.float32(1), np.float32(1), np.ones(4, "f4")))
