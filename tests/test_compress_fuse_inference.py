"""Convolutions with what follows them, against seven loops; fused layers in a file; models that cannot be fused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import backend, files, measure, models, nn, ops
from tinyopt.compress.fuse import fuse
from tinyopt.compress.workspace import Workspace
from tinyopt.nn.fused import FusedAdd, FusedConv2d
from tinyopt.ops.conv import conv2d_loop
from tinyopt.ops.conv_inference import conv2d_then, pool_into
from tinyopt.ops.rule import substitute
from tinyopt.tensor import Tensor

RNG = np.random.default_rng(6)


def answers(model, *inputs):
    with measure.inference(model):
        return model(*inputs).data


def pooled_loop(x, size, take):
    (kh, kw), (n, c, height, width) = size, x.shape
    y = np.empty((n, c, height // kh, width // kw))
    for i, j in np.ndindex(*y.shape[2:]):
        y[:, :, i, j] = take(x[:, :, i * kh : i * kh + kh, j * kw : j * kw + kw], axis=(2, 3))
    return y


@settings(max_examples=40)
@given(
    seed=st.integers(0, 9999), channels=st.sampled_from([(2, 3, 1), (4, 4, 4), (4, 6, 2), (3, 6, 3)]),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(), relu=st.booleans(), pool=st.sampled_from([None, "max", "mean"]), last=st.booleans(),
    images_at_a_time=st.sampled_from([1, 2, 9]), given_out=st.booleans(),
)  # fmt: skip
def test_a_convolution_and_what_follows_by_loops(
    seed, channels, stride, padding, bias, relu, pool, last, images_at_a_time, given_out
):
    rng, (c, n_out, groups) = np.random.default_rng(seed), channels
    x = rng.normal(size=(3, 8, 7, c)).transpose(0, 3, 1, 2) if last else rng.normal(size=(3, c, 8, 7))
    weight, b = rng.normal(size=(n_out, c // groups, 3, 2)), rng.normal(size=n_out) if bias else None
    how = {"stride": stride, "padding": padding, "groups": groups}
    due = conv2d_loop(x, weight, b, **how)
    due = np.maximum(due, 0) if relu else due
    size = None if pool is None else (2, 3)
    due = due if pool is None else pooled_loop(due, size, np.max if pool == "max" else np.mean)
    n, o, p, q = due.shape
    out = np.full((n, p, q, o), np.nan).transpose(0, 3, 1, 2) if given_out else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "chunks", lambda x, _: [slice(i, i + images_at_a_time) for i in range(0, 3, images_at_a_time)])
        y, _ = conv2d_then(x, weight, b, **how, relu=relu, pool=pool, pool_size=size, out=out)
    np.testing.assert_allclose(y, due, atol=1e-12)
    assert out is None or np.shares_memory(y, out)


@pytest.mark.parametrize("kind, op", [("max", ops.max_pool2d), ("mean", ops.avg_pool2d)])
def test_pooling_into_a_place_is_the_op_bit_for_bit(kind, op):
    x = RNG.normal(size=(2, 3, 7, 8)).astype("f4")
    due = op(Tensor(x), kernel_size=3, stride=2, padding=1).data
    y = np.empty_like(due)
    pool_into(y, x, kind=kind, kernel_size=3, stride=2, padding=1)
    assert (y == due).all()


# --- the layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_a_convolution_with_pooling_with_and_without_a_graph(pool):
    fused = FusedConv2d(2, 4, 3, padding=1, pool=pool, pool_size=2, rng=0)
    x, pooling = RNG.normal(size=(3, 2, 6, 5)).astype("f4"), {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}[pool]
    plain = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, rng=0), nn.ReLU(), pooling(2))
    assert (answers(fused, x) == answers(plain, x)).all() and not answers(fused, x).flags.writeable
    t, u = Tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    fused(t).sum().backward()
    plain(u).sum().backward()
    assert (t.grad == u.grad).all() and t.grad.any()
    assert type(fused)(**fused.config()).config() == fused.config()
    with pytest.raises(ValueError, match="pool is .* got 'min' and 2"):
        FusedConv2d(2, 4, 3, pool="min", pool_size=2)
    with pytest.raises(ValueError, match="got 'max' and None"):
        FusedConv2d(2, 4, 3, pool="max")


def test_a_sum_with_its_relu():
    x, y = RNG.normal(size=(2, 4, 3, 5)).astype("f4")
    due = np.maximum(x + y, 0)
    assert (answers(FusedAdd(), x, y) == due).all() and (answers(FusedAdd(), x, y[:1]) == np.maximum(x + y[:1], 0)).all()
    t = Tensor(x, requires_grad=True)
    total = FusedAdd()(t, y)
    total.sum().backward()
    assert (total.data == due).all() and (t.grad == (due > 0)).all()
    with tinyopt.no_grad(), substitute("add", lambda x, y: (x * 0 + 7, (None, None))):
        assert (FusedAdd()(Tensor(x), Tensor(y)).data == 7).all()


CHAINS = {  # what comes after a convolution -> the layers that are left
    "max, then ReLU": ([nn.MaxPool2d(2), nn.ReLU()], ["FusedConv2d"]),
    "ReLU, then mean": ([nn.ReLU(), nn.AvgPool2d(2)], ["FusedConv2d"]),
    "mean, then ReLU": ([nn.AvgPool2d(2), nn.ReLU()], ["FusedConv2d", "ReLU"]),
    "windows that overlap": ([nn.MaxPool2d(3, stride=2)], ["FusedConv2d", "MaxPool2d"]),
    "windows with padding": ([nn.AvgPool2d(2, padding=1)], ["FusedConv2d", "AvgPool2d"]),
    "two poolings": ([nn.MaxPool2d(2), nn.AvgPool2d(2)], ["FusedConv2d", "AvgPool2d"]),
}


@pytest.mark.parametrize("case", CHAINS)
def test_pooling_goes_into_the_convolution_where_that_is_exact(case):
    after, kinds = CHAINS[case]
    model = nn.Sequential(nn.Conv2d(2, 3, 3, rng=0), *after).astype("float64").eval()
    x = RNG.normal(size=(2, 2, 11, 9))
    fused, _ = fuse(model, x)
    assert [type(layer).__name__ for layer in fused] == kinds
    np.testing.assert_allclose(answers(fused, x), answers(model, x), atol=1e-12)


# --- whole models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.MODELS)
def test_a_workspace_answers_as_the_fused_model_in_float64(name):
    model = models.make(name, image_size=12, rng=0).astype("float64").eval()
    x = RNG.normal(size=(5, 1, 12, 12))
    fused, _ = fuse(model, Tensor(x[:1]))  # a tensor will do
    due = answers(model, x)
    for runner in (fused, Workspace(fused, Tensor(x[:1])), Workspace(model, x[:1])):
        assert abs(answers(runner, x) - due).max() <= 1e-12 * max(1, abs(due).max())


@pytest.mark.parametrize("name", models.MODELS)
def test_a_fused_model_comes_back_from_its_file(name, tmp_path):
    model = models.make(name, image_size=12, rng=0).eval()
    x = RNG.normal(size=(3, 1, 12, 12)).astype("f4")
    fused, report = fuse(model, x)
    files.save(fused, tmp_path / "fused.tinyopt")
    again = files.load(tmp_path / "fused.tinyopt").eval()
    assert (answers(again, x) == answers(fused, x)).all() and str(again) == str(fused)
    assert len(report) > 0 and str(fuse(again, x)[1]) == "nothing was fused"


class Branch(nn.Module):
    """Takes one of two ways, as the numbers are."""

    def __init__(self):
        self.fc, self.norm, self.other = nn.Linear(4, 4, rng=0), nn.BatchNorm1d(4), nn.Linear(4, 4, rng=1)

    def forward(self, x):
        y = self.fc(x)
        return self.norm(y) if float(x.data.sum()) > 0 else self.other(y)


@pytest.mark.parametrize("make", [fuse, Workspace])
def test_one_run_that_does_not_show_all_is_refused_in_a_sentence(make):
    with pytest.raises(ValueError, match=r"numbers choose the way: .* came to norm \(BatchNorm1d\), others to other"):
        make(Branch().eval(), np.ones((1, 4), "f4"))
    for example, came in {(1, 28, 28): r"got \(1, 28, 28\)", None: "got None"}.items():
        with pytest.raises(ValueError, match=f"an example is an array of one input or more.*{came}"):
            make(models.lenet5(rng=0).eval(), example)
    with pytest.raises(ValueError, match="norm1 is in training mode"):
        make(models.resnet8(rng=0), np.zeros((1, 1, 28, 28), "f4"))
    with pytest.raises(tinyopt.errors.ShapeError, match="Add the channel axis"):
        make(models.resnet8(rng=0).eval(), np.zeros((1, 28, 28), "f4"))


class Twice(nn.Module):
    """One layer, used two times."""

    def __init__(self):
        self.conv, self.norm, self.relu = nn.Conv2d(2, 2, 3, padding=1, rng=0), nn.BatchNorm2d(2), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(self.norm(self.conv(x))))


def test_a_layer_that_runs_twice_stays():
    model, x = Twice().eval(), RNG.normal(size=(2, 2, 5, 5)).astype("f4")
    fused, report = fuse(model, x)
    assert not report and str(fused) == str(model)
    np.testing.assert_allclose(answers(Workspace(model, x), x), answers(model, x), atol=1e-5)
