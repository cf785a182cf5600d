"""`SparseLinear`: the same numbers as `Linear`, one choice that stays, and a place in models and files."""

import copy

import numpy as np
import pytest

import tinyopt
from tinyopt import Tensor, compress, losses, measure, models, nn, no_grad, optim
from tinyopt.codec import BSR, CSR
from tinyopt.compress.sparse import sparsify
from tinyopt.errors import DtypeError, ShapeError

X = np.random.default_rng(0).normal(size=(6, 20)).astype(np.float32)


def pruned(layout, seed=0, **settings):
    layer = nn.SparseLinear(20, 8, layout=layout, rng=seed, **settings)
    layer.weight.prune(compress.magnitude_mask(layer.weight.data, sparsity=0.8))
    return layer


def test_every_layout_computes_what_linear_does_with_the_same_gradients():
    dense = nn.Linear(20, 8, rng=0).astype("float64")
    dense.weight.prune(compress.magnitude_mask(dense.weight.data, sparsity=0.8))
    for layout, settings in (("dense", {}), ("csr", {}), ("bsr", {"block": (3, 2)}), ("csr", {"bias": False})):
        layer = nn.SparseLinear(20, 8, layout=layout, rng=1, **settings).astype("float64")
        layer.weight, layer.bias = dense.weight, dense.bias if "bias" not in settings else None
        for x in (X, X[:1], X[:0], X[0], X.reshape(2, 3, 20)):
            x, results = Tensor(x.astype(np.float64), requires_grad=True), []
            for module in (layer, dense):
                module.zero_grad(), setattr(x, "grad", None)
                y = module(x)
                (y**2).sum().backward()
                known = y.data if "bias" not in settings or module is layer else y.data - dense.bias.data
                results.append([known, x.grad, dense.weight.grad] if "bias" not in settings else [known])
            for got, expected in zip(*results):
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_it_measures_once_and_stays_with_the_choice(monkeypatch):
    layer, calls = pruned(None), []
    own = nn.SparseLinear.choose
    monkeypatch.setattr(nn.SparseLinear, "choose", lambda self, n: calls.append(n) or own(self, n))
    first = layer(X)
    for x in (X, X[:1], X.reshape(2, 3, 20)):
        layer(x)
    assert calls == [6] and layer.layout in ("dense", "csr")
    assert layer(X).data.tobytes() == first.data.tobytes() == copy.deepcopy(layer)(X).data.tobytes()


@pytest.mark.parametrize("fastest", ["dense", "csr", "bsr"])
def test_it_picks_whichever_the_clock_says_is_fastest(monkeypatch, fastest):
    layer = pruned(None, block=(2, 2))
    now, cost = [0.0], {"dense": 2.0, "csr": 2.0, "bsr": 2.0, fastest: 1.0}
    spent = {"linear": "dense", CSR: "csr", BSR: "bsr"}
    linear, own = tinyopt.OPS["linear"].rule, nn.sparse.sparse_linear.rule

    def slow(rule, key):
        def timed(*arrays, **settings):
            now[0] += cost[spent[key or type(settings["matrix"])]]
            return rule(*arrays, **settings)

        return timed

    monkeypatch.setattr(nn.sparse.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(nn.sparse.sparse_linear, "rule", slow(own, None))
    with tinyopt.substitute("linear", slow(linear, "linear")):
        seconds = layer.choose(3)
    assert layer.layout == fastest and seconds == cost


def test_the_sparse_weight_follows_the_dense_one():
    layer = pruned("csr")
    assert layer.matrix().n_stored == 32 and layer.matrix() is layer.matrix()
    before = layer(X).data
    layer.weight.data = layer.weight.data * 2  # as an optimizer's step does
    np.testing.assert_allclose(layer(X).data - layer.bias.data, 2 * (before - layer.bias.data), rtol=1e-5)
    layer.weight.prune(np.zeros((8, 20), bool))
    assert layer.matrix().n_stored == 0 and np.allclose(layer(X).data, layer.bias.data)
    layer.weight.attach(nn.Mask(np.ones((8, 20), bool)))
    layer.astype("float64")
    assert layer(X.astype(np.float64)).dtype == np.float64


def test_the_zeros_of_a_mask_are_not_stored_though_some_are_negative():
    layer = pruned("csr")
    with no_grad():
        read = layer.weight.read().data
    assert np.signbit(read[read == 0]).any() and layer.matrix().n_stored == np.count_nonzero(read)


def test_training_goes_on_as_with_linear():
    target = Tensor(np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32))
    weights = []
    for layer in (pruned("csr"), pruned("dense")):
        optimizer = optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        for _ in range(10):
            optimizer.zero_grad()
            losses.mse_loss(layer(X), target).backward()
            optimizer.step()
        weights.append(layer.weight.read().data)
    np.testing.assert_allclose(*weights, atol=1e-5)
    assert (weights[0] == 0).sum() == 128


@pytest.mark.parametrize("view", ["mask", "quantize", "share"])
@pytest.mark.parametrize("layout", ["csr", "bsr", None])
def test_a_model_with_sparse_layers_comes_back_from_a_file_and_computes_the_same_bits(tmp_path, view, layout):
    model, x = models.lenet_300_100(image_size=8, rng=0), X[:3, :1] * np.ones((3, 64), np.float32)
    compress.prune(model, 0.9, scope="layer", skip="fc3")
    if view == "quantize":
        compress.quantize(model, bits=4)
    if view == "share":
        compress.share(model, 8, skip="fc3")
    expected, plain = model(x).data, tinyopt.save(model, tmp_path / "plain.uop")
    report = sparsify(model, batch_size=3, layout=layout, block=(4, 4))
    assert set(report) == {"fc1", "fc2"} and type(model.get("fc3")) is nn.Linear
    np.testing.assert_allclose(model(x).data, expected, atol=1e-5)
    size = tinyopt.save(model, tmp_path / "sparse.uop")
    assert size - plain < 60  # a few words of the header
    again = tinyopt.load(tmp_path / "sparse.uop")
    assert type(again.get("fc1")) is nn.SparseLinear and again.get("fc1").layout == report["fc1"]["layout"]
    assert again(x).data.tobytes() == model(x).data.tobytes()
    assert again.get("fc1").block == (4, 4)


def test_sparsify_hands_on_the_parameters_and_reports_what_it_measured():
    shared = nn.Linear(64, 64, rng=0)
    model = nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared, nn.Linear(64, 5, rng=1)).eval()
    shared.weight.prune(compress.magnitude_mask(shared.weight.data, sparsity=0.75))
    report = sparsify(model, batch_size=2)
    assert model.get("1") is model.get("3") and model.get("1").weight is shared.weight and not model.get("1").training
    assert report["1"]["density"] == 0.25 and set(report["1"]) == {"layout", "density", "dense", "csr"}
    assert report["1"]["layout"] == min(("dense", "csr"), key=report["1"].get)
    assert type(model.get("4")) is nn.Linear


PROTECTED = [("fc1", "fc2"), (["fc1.weight"], "fc2"), (("body.fc1",), "fc2"), ("body", None)]


@pytest.mark.parametrize("skip, left", PROTECTED)
def test_layers_are_protected_by_name_or_by_that_of_what_they_stand_in(skip, left):
    model = models.lenet_300_100(image_size=8, rng=0)
    compress.prune(model, 0.9, scope="layer", skip="fc3")
    if "body" in str(skip):
        model = nn.Sequential(body=model)
    if left is None:
        with pytest.raises(ValueError, match="no pruned Linear layer"):
            sparsify(model, layout="csr", skip=skip)
    else:
        assert [name.removeprefix("body.") for name in sparsify(model, layout="csr", skip=skip)] == [left]


def test_a_trace_sees_one_product_even_if_it_is_the_run_that_measures():
    model = nn.Sequential(pruned(None))
    ops = [op.kind for step in measure.trace(model, X) for op in step.ops if not op.weight_side]
    assert ops in (["linear"], ["sparse_linear"])
    model.get("0").layout = "csr"
    assert [op.kind for step in measure.trace(model, X) for op in step.ops if not op.weight_side] == ["sparse_linear"]


WRONG = [
    (lambda: nn.SparseLinear(3, 4, layout="coo"), ValueError, "layout is None.*got 'coo'"),
    (lambda: nn.SparseLinear(3, 4, layout="bsr"), ValueError, "'bsr' with a block"),
    (lambda: nn.SparseLinear(0, 4), ValueError, "in_features is an integer of 1 or more"),
    (lambda: nn.SparseLinear(3, 4).choose(0), ValueError, "a batch has 1 example"),
    (lambda: pruned("csr")(X[:, :5]), ShapeError, r"needs x \(..., 20\); got \(6, 5\)"),
    (lambda: pruned("csr")(X.astype(np.float64)), DtypeError, "float64 and float32"),
    (lambda: pruned("csr")(X.astype(int)), DtypeError, "x.astype"),
    (lambda: sparsify(models.lenet_300_100(image_size=8)), ValueError, "no pruned Linear layer. Prune it first"),
    (lambda: sparsify(nn.Linear(3, 4)), ValueError, "goes into a Sequential"),
    (lambda: sparsify(models.lenet5(image_size=8), skip="fc9"), KeyError, "no layer or parameter is called 'fc9'"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_bad_input_is_one_clear_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


def test_the_summary_counts_only_the_products_that_are_made():
    layer = nn.SparseLinear(6, 4, layout="csr", rng=0)
    layer.weight.prune(np.arange(24).reshape(4, 6) % 3 == 0)
    assert measure.summary(nn.Sequential(layer), (6,)).macs == 8
    layer.layout = "dense"
    assert measure.summary(nn.Sequential(layer), (6,)).macs == 24
