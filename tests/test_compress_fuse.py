"""Fused models against the models they came from, in float64, and against products by hand."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, measure, models, nn, ops
from tinyopt.compress.fuse import fuse, merge_convs, merge_linears
from tinyopt.errors import ShapeError
from tinyopt.nn.fused import FusedConv2d, FusedLinear, relu_in_place
from tinyopt.ops.conv import conv2d_loop
from tinyopt.ops.rule import substitute
from tinyopt.tensor import Tensor

RNG = np.random.default_rng(3)


def lively(model, dtype="float64"):
    """The model in eval mode, with norms that have something to say."""
    rng = np.random.default_rng(5)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            n = module.num_features
            module.weight.data, module.bias.data = rng.normal(size=(2, n)).astype("f4")
            module.running_mean = rng.normal(size=n).astype("f4")
            module.running_var = rng.uniform(0.2, 3, size=n).astype("f4")
    return model.astype(dtype).eval()


def answers(model, x):
    with measure.inference(model):
        return model(x).data


def kinds(model):
    return [type(module).__name__ for module in model.modules() if not list(module.named_children())]


def same(model, x):
    """Fuse; hold the answers, and that the model itself did not change, to 1e-12; return what fuse returns."""
    before = answers(model, x)
    fused, report = fuse(model, x[:1])
    assert abs(answers(fused, x) - before).max() <= 1e-12 * max(1, abs(before).max())
    assert (answers(model, x) == before).all()
    return fused, report


# --- on arrays ------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 9999), biases=st.tuples(st.booleans(), st.booleans()))
def test_two_dense_layers_are_one(seed, biases):
    rng = np.random.default_rng(seed)
    x, w1, w2 = rng.normal(size=(7, 4)), rng.normal(size=(5, 4)), rng.normal(size=(3, 5))
    b1, b2 = (rng.normal(size=n) if there else None for n, there in zip((5, 3), biases))
    due = np.einsum("nh,oh->no", np.einsum("ni,hi->nh", x, w1) + (0 if b1 is None else b1), w2)
    weight, bias = merge_linears(w1, b1, w2, b2)
    assert (bias is None) == (not any(biases))
    np.testing.assert_allclose(x @ weight.T + (0 if bias is None else bias), due + (0 if b2 is None else b2), atol=1e-12)


@given(seed=st.integers(0, 9999), padding=st.integers(0, 2), strides=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_a_pointwise_convolution_after_another_is_one_by_seven_loops(seed, padding, strides):
    rng = np.random.default_rng(seed)
    x, w1, w2 = rng.normal(size=(1, 2, 7, 6)), rng.normal(size=(3, 2, 3, 2)), rng.normal(size=(2, 3, 1, 1))
    b1, b2 = rng.normal(size=3), rng.normal(size=2)
    due = conv2d_loop(conv2d_loop(x, w1, b1, stride=strides[0], padding=padding), w2, b2, stride=strides[1])
    made = conv2d_loop(x, *merge_convs(w1, b1, w2, b2), stride=strides[0] * strides[1], padding=padding)
    np.testing.assert_allclose(made, due, atol=1e-12)


# --- models ---------------------------------------------------------------------------------------------

NORMS = {"lenet5": 0, "lenet_300_100": 0, "resnet8": 9, "mobilenet_tiny": 9}
RELUS = {"lenet5": 1, "lenet_300_100": 2, "resnet8": 7, "mobilenet_tiny": 9}


@pytest.mark.parametrize("name", models.MODELS)
def test_each_model_answers_the_same_with_no_norm_left(name):
    model = lively(models.make(name, image_size=12, rng=0))
    fused, report = same(model, RNG.normal(size=(3, 1, 12, 12)))
    assert len(report.names("norm folded")) == NORMS[name] and len(report.names("ReLU in place")) == RELUS[name]
    assert not {"BatchNorm2d", "Dropout"} & set(kinds(fused))
    macs = [measure.summary(m, (1, 12, 12)).macs for m in (fused, model)]
    assert macs[0] == macs[1]  # the products are the same: what went was everything else
    assert not report.names("removed") and not fuse(fused, np.zeros((1, 1, 12, 12)))[1]
    assert all(what in str(report) for what in ("into", "ReLU in place"))


def test_a_chain_of_everything_becomes_three_layers():
    model = lively(nn.Sequential(
        c1=nn.Conv2d(2, 6, 3, stride=2, padding=1, rng=0), drop=nn.Dropout(0.5), c2=nn.Conv2d(6, 4, 1, rng=1),
        n1=nn.BatchNorm2d(4), r1=nn.ReLU(), r2=nn.ReLU(), pool=nn.AvgPool2d(1), flatten=nn.Flatten(),
        same=nn.Identity(), fc1=nn.Linear(36, 20, bias=False, rng=2), again=nn.Flatten(), fc2=nn.Linear(20, 6, rng=3),
        n2=nn.BatchNorm1d(6), r3=nn.ReLU(),
    ))  # fmt: skip
    fused, report = same(model, RNG.normal(size=(4, 2, 6, 6)))
    assert kinds(fused) == ["FusedConv2d", "Flatten", "FusedLinear"] and list(fused.layers) == ["c1", "flatten", "fc1"]
    assert set(report.names("removed")) == {"drop", "r2", "pool", "same", "again"}
    assert report.names("merged") == ["c2", "fc2"] and report.names("norm folded") == ["n1", "n2"]
    assert report.names("ReLU in place") == ["r1", "r3"] and not fuse(fused, np.zeros((1, 2, 6, 6)))[1]


def test_views_are_baked_and_the_given_model_keeps_them():
    model = models.lenet_300_100(image_size=8, rng=0).eval()
    compress.prune(model, 0.8, scope="layer")
    compress.quantize(model, 4)
    x = RNG.normal(size=(3, 1, 8, 8)).astype("f4")
    fused, report = fuse(model, x)
    assert "fc1.weight" in report.names("baked") and not any(p.views for p in fused.parameters())
    assert all(model.get(f"{name}.weight").views for name in ("fc1", "fc2", "fc3"))
    assert (answers(fused, x) == answers(model, x)).all()


def shared_norm():
    norm = nn.BatchNorm2d(2)
    return nn.Sequential(nn.Conv2d(2, 2, 1, rng=0), norm, nn.Conv2d(2, 2, 3, rng=1), norm)


def tied():
    model = nn.Sequential(a=nn.Linear(6, 6, rng=0), n=nn.BatchNorm1d(6), r=nn.ReLU(), b=nn.Linear(6, 6, rng=1))
    model.get("b").weight = model.get("a").weight
    return model


class Both(nn.Module):
    """Its convolution's output is read by the norm, and handed out as well."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(2, 2, 1, rng=0), nn.BatchNorm2d(2)

    def forward(self, x):
        y = self.conv(x)
        return ops.concatenate(y, self.norm(y), axis=1)


class Penalised(nn.Module):
    """Its weight is read beside the layer."""

    def __init__(self):
        self.fc, self.norm = nn.Linear(6, 6, rng=0), nn.BatchNorm1d(6)

    def forward(self, x):
        return self.norm(self.fc(x)) + self.fc.weight.sum()


STAY = {
    "a norm at two places": (shared_norm, (3, 2, 6, 6)),
    "a weight of two layers": (tied, (3, 6)),
    "read by two": (Both, (3, 2, 4, 4)),
    "a weight read by an op": (Penalised, (3, 6)),
    "padding between": (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, rng=0), nn.Conv2d(4, 2, 1, padding=1, rng=1)), (3, 2, 4, 4)),
    "thin factors": (lambda: nn.Sequential(nn.Linear(6, 2, rng=0), nn.Linear(2, 6, rng=1)), (3, 6)),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(2, 2, 3, groups=2, rng=0), nn.Conv2d(2, 2, 1, rng=1)), (3, 2, 4, 4)),
    "norm of a sequence": (lambda: nn.Sequential(nn.Linear(6, 6, rng=0), nn.BatchNorm1d(6)), (3, 6, 6)),
    "norm after ReLU": (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(6)), (3, 6)),
}  # fmt: skip


@pytest.mark.parametrize("case", STAY)
def test_what_cannot_be_fused_exactly_stays(case):
    make, shape = STAY[case]
    model = lively(make())
    fused, report = same(model, RNG.normal(size=shape))
    assert [kind.replace("FusedConv", "Conv") for kind in kinds(fused)] == kinds(model)
    assert not {"merged", "norm folded", "ReLU in place"} & {line.what for line in report}


def test_a_norm_in_training_mode_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"block1.body.norm1 is in training mode.*call model.eval\(\) first"):
        model = models.resnet8(rng=0).eval()
        model.get("block1.body.norm1").training = True
        fuse(model, np.zeros((1, 1, 28, 28), "f4"))


# --- the fused layers -----------------------------------------------------------------------------------

LAYERS = [
    (FusedLinear(5, 4, rng=0), nn.Linear(5, 4, rng=0), (2, 3, 5)),
    (FusedConv2d(4, 6, 3, 2, 1, groups=2, rng=0), nn.Conv2d(4, 6, 3, 2, 1, groups=2, rng=0), (2, 4, 5, 6)),
    (FusedConv2d(4, 6, (2, 3), bias=False, rng=0), nn.Conv2d(4, 6, (2, 3), bias=False, rng=0), (2, 4, 5, 6)),
]


@pytest.mark.parametrize("fused, plain, shape", LAYERS, ids=repr)
def test_a_fused_layer_is_the_layer_and_its_relu_with_and_without_a_graph(fused, plain, shape):
    x = RNG.normal(size=shape).astype("f4")
    due = np.maximum(plain(x).data, 0)
    assert (due == 0).any() and (answers(fused, x) == due).all() and not answers(fused, x).flags.writeable
    t, u = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    g = RNG.normal(size=due.shape).astype("f4")
    fused(t).backward(g)
    ops.relu(plain(u)).backward(g)
    assert (t.grad == u.grad).all() and (fused.weight.grad == plain.weight.grad).all()
    again = type(fused)(**{**fused.config(), "relu": False}, rng=0)
    assert (answers(again, x) == plain(x).data).all() and "relu=True" in repr(fused)


def test_the_relu_is_written_over_the_sum_and_a_substitute_is_still_reached():
    with tinyopt.no_grad():
        y = ops.linear(Tensor(RNG.normal(size=(3, 4))), Tensor(RNG.normal(size=(2, 4))))
        array = y.data
        assert relu_in_place(y).data is array and (array >= 0).all()
        with substitute("relu", lambda x: (x * 0 + 7, (None,))):
            assert (FusedLinear(4, 2, rng=0)(np.ones((3, 4), "f4")).data == 7).all()


def test_the_copy_is_a_copy():
    model = lively(models.mobilenet_tiny(image_size=8, rng=0), "float32")
    before = copy.deepcopy(model.state_dict())
    fuse(model, np.zeros((1, 1, 8, 8), "f4"))
    assert all((array == before[name]).all() for name, array in model.state_dict().items())


def test_layers_that_are_no_chain_are_not_merged():
    for merge, second in ((merge_linears, (3, 4)), (merge_convs, (3, 4, 1, 1)), (merge_convs, (3, 2, 3, 3))):
        with pytest.raises(ShapeError, match=r"reads the H outputs of the first, .*; got first \(2, 5\) and second"):
            merge(np.ones((2, 5)), None, np.ones(second), None)
