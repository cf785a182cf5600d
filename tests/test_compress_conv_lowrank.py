"""Convolutions of low rank: against tails of σ² by eigenvalues, the whole convolution, and counted products."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, data, measure, models, nn
from tinyopt.compress.conv_lowrank import (
    channel_svd,
    conv_cost,
    factorize_convs,
    spatial_svd,
    split_conv,
    tucker2,
    tucker2_sweeps,
)  # fmt: skip

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


def weights(seed, shape):
    return np.random.default_rng(seed).normal(size=shape)


def tail(matrix, rank):
    """Σ over k > rank of σ_k², from the eigenvalues of the Gram matrix."""
    return max(0.0, np.sort(np.linalg.eigvalsh(matrix @ matrix.T))[::-1][rank:].sum())


def tucker_of(narrow, core, wide):
    """Σ_p Σ_q wide[o, p] core[p, q, i, j] narrow[q, c], number by number."""
    return sum(
        np.multiply.outer(wide[:, p, 0, 0], narrow[q, :, 0, 0])[:, :, None, None] * core[p, q]
        for p in range(len(core)) for q in range(core.shape[1])
    )  # fmt: skip


def filters_of(small):
    """The filters (O, C, kh, kw) of a chain of convolutions, by what it makes of single pixels."""
    n_in, (kh, kw) = small[0].in_channels, np.max([layer.kernel_size for layer in small], axis=0)
    pixels = np.zeros((n_in, n_in, 2 * kh - 1, 2 * kw - 1))
    pixels[range(n_in), range(n_in), kh - 1, kw - 1] = 1
    bare = copy.deepcopy(small)
    for layer in bare:
        layer.stride, layer.padding, layer.bias = (1, 1), (0, 0), None
    return bare(pixels).data[:, :, ::-1, ::-1].swapaxes(0, 1)


# --- on arrays ------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(seed=st.integers(0, 9999), shape=SHAPES, data=st.data())
def test_the_squared_error_of_both_svds_is_the_tail_of_the_squared_singular_values(seed, shape, data):
    w, (o, c, kh, kw) = weights(seed, shape), shape
    rank = data.draw(st.integers(1, min(o, c * kh * kw)))
    basis, mix = channel_svd(w, rank)
    near = sum(mix[:, r, :, :, None] * basis[r] for r in range(rank))
    assert np.isclose(((w - near) ** 2).sum(), tail(w.reshape(o, -1), rank), atol=1e-9)

    rank = data.draw(st.integers(1, min(c * kh, o * kw)))
    vertical, horizontal = spatial_svd(w, rank)
    assert vertical.shape == (rank, c, kh, 1) and horizontal.shape == (o, rank, 1, kw)
    near = np.zeros(shape)
    for r, n, m, i, j in np.ndindex(rank, *shape):
        near[n, m, i, j] += vertical[r, m, i, 0] * horizontal[n, r, 0, j]
    rows = [(m, i) for m in range(c) for i in range(kh)]
    matrix = np.array([[w[n, m, i, j] for n in range(o) for j in range(kw)] for m, i in rows])
    assert np.isclose(((w - near) ** 2).sum(), tail(matrix, rank), atol=1e-9)


@settings(max_examples=25)
@given(seed=st.integers(0, 9999), shape=SHAPES, data=st.data())
def test_the_error_of_alternating_least_squares_never_rises_and_keeps_its_bounds(seed, shape, data):
    w, (o, c, *_) = weights(seed, shape), shape
    ranks = data.draw(st.integers(1, o)), data.draw(st.integers(1, c))
    errors = [error for _, _, error in tucker2_sweeps(w, ranks, sweeps=6)]
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(errors))
    near = tucker_of(*tucker2(w, ranks, sweeps=6))
    assert np.isclose(((w - near) ** 2).sum(), errors[-1], atol=1e-12)
    sides = [tail(w.reshape(o, -1), ranks[0]), tail(w.swapaxes(0, 1).reshape(c, -1), ranks[1])]
    assert max(sides) - 1e-9 <= errors[-1]  # what each side alone leaves out
    assert errors[0] <= sum(sides) + 1e-9


def test_the_sweeps_do_lower_the_error_and_find_what_is_of_low_rank():
    gains = [[e for *_, e in tucker2_sweeps(weights(s, (8, 7, 3, 3)), (2, 3))] for s in range(5)]
    assert all(errors[-1] < 0.995 * errors[0] for errors in gains)
    exact = tucker_of(weights(1, (3, 7, 1, 1)), weights(2, (2, 3, 3, 3)), weights(3, (8, 2, 1, 1)))
    np.testing.assert_allclose(tucker_of(*tucker2(exact, (2, 3))), exact, atol=1e-12)


def test_no_small_step_from_the_end_of_the_sweeps_is_better():
    w = weights(4, (5, 4, 3, 2))
    *_, (u, v, error) = tucker2_sweeps(w, (2, 2), sweeps=300)
    rng = np.random.default_rng(0)
    for _ in range(40):
        a, b = (np.linalg.qr(m + 0.02 * rng.normal(size=m.shape))[0] for m in (u, v))
        core = np.einsum("ocij,op,cq->pqij", w, a, b)
        assert (w**2).sum() - (core**2).sum() >= error - 1e-9  # orthonormal: what the core has not is the error


# --- in the model ---------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    seed=st.integers(0, 9999), channels=st.tuples(st.integers(1, 4), st.integers(1, 5)), bias=st.booleans(),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), stride=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_at_full_rank_the_outputs_are_equal(seed, channels, bias, kernel, stride, padding):
    layer = nn.Conv2d(*channels, kernel, stride, padding, bias=bias, rng=seed).astype("float64")
    (c, o), (kh, kw) = channels, kernel
    x = weights(seed, (2, c, 7, 8))
    for kind, rank in (("channel", min(o, c * kh * kw)), ("spatial", min(c * kh, o * kw)), ("tucker2", (o, c))):
        small = split_conv(layer, rank, kind)
        np.testing.assert_allclose(small(x).data, layer(x).data, rtol=0, atol=1e-12)
        assert sum(p.size for p in small.parameters()) == conv_cost(layer, rank, kind)[0] + o * bias


@pytest.mark.parametrize("kind, rank", [("channel", 3), ("spatial", 3), ("tucker2", (4, 2))])
def test_costs_are_those_that_the_summary_counts(kind, rank):
    layer = nn.Conv2d(4, 6, 2, stride=2, rng=0)  # windows tile the image: it has no edge
    macs = measure.summary(split_conv(layer, rank, kind), (4, 8, 8)).macs
    _, products = conv_cost(layer, rank, kind)
    assert macs == products * 16 and measure.summary(layer, (4, 8, 8)).macs == conv_cost(layer)[1] * 16


@pytest.mark.parametrize("kind, rank", [("channel", 10), ("spatial", 12), ("tucker2", (12, 8))])
def test_it_is_saved_loaded_and_computes_the_same(kind, rank, tmp_path):
    model, x = models.lenet5(image_size=8, rng=0).eval(), data.digits().test.images[:9]
    whole = copy.deepcopy(model)
    assert factorize_convs(model, {"conv2": rank}, kind=kind) == {"conv2": rank}
    near = model(x).data
    assert 1e-4 < abs(near - whole(x).data).max() < 0.5  # initial weights have a long tail of σ
    saved = tinyopt.save(whole, tmp_path / "whole") - tinyopt.save(model, tmp_path / "small")
    old, new = (conv_cost(whole.get("conv2"), r, kind)[0] for r in (None, rank))
    assert 0 <= 4 * (old - new) - saved < 1000  # a longer header, no more
    assert (tinyopt.load(tmp_path / "small")(x).data == near).all()
    assert all(p.grad is None for p in model.parameters())
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.get("conv2").parameters())


def test_one_setting_is_for_every_layer_that_it_makes_smaller():
    model = models.resnet8(image_size=8, width=4, rng=0).eval()
    for kind in ("channel", "spatial", "tucker2"):
        ranks = factorize_convs(copy.deepcopy(model), energy=0.7, kind=kind)
        assert ranks
        for name, rank in ranks.items():
            layer = model.get(name).astype("float64")
            w, cost = layer.weight.data, conv_cost(layer, rank, kind)
            left_out = ((w - filters_of(split_conv(layer, rank, kind))) ** 2).sum()
            assert left_out <= (0.6 if kind == "tucker2" else 0.3) * (w**2).sum() + 1e-9  # 0.3 on each side
            assert max(cost) < w.size
    depthwise = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, rng=0))
    assert factorize_convs(copy.deepcopy(model), 100) == {}
    with pytest.raises(ValueError, match="factored here: this model has none"):
        factorize_convs(depthwise, 1)


def test_a_masked_weight_is_factored_as_layers_read_it():
    model = nn.Sequential(nn.Conv2d(3, 6, 3, rng=0)).astype("float64")
    compress.prune(model, 0.5)
    x, seen = weights(0, (1, 3, 5, 5)), model.get("0").weight.read().data
    np.testing.assert_allclose(split_conv(model.get("0"), 6)(x).data, model(x).data, atol=1e-12)
    assert (seen == 0).any()


CONV = nn.Conv2d(3, 8, 3, stride=2, rng=0)  # 216 numbers; channel: 35 a rank; spatial: 33, and 42 products


@pytest.mark.parametrize(
    "change, words",
    [
        ({"rank": {"c": 7}}, "c at rank 7 would grow from 216 to 245 numbers; use a rank of 6 or less"),
        ({"rank": {"c": 6}, "kind": "spatial"}, "216 to 252 products at each place of the output; use a rank of 5"),
        ({"rank": {"c": (8, 3)}, "kind": "tucker2"}, r"c at rank \(8, 3\) would grow from 216 to 289 numbers"),
        ({"rank": {"c": 0}}, "rank is an integer of 1 or more for kind 'channel'; got 0"),
        ({"rank": 0}, "rank is an integer of 1 or more"),
        ({"rank": {"c": 1.5}}, "got 1.5"),
        ({"rank": {"c": 2}, "kind": "tucker2"}, r"two ranks of 1 or more, \(channels out, channels in\); got 2"),
        ({"rank": {"c": (1, 4)}, "kind": "tucker2"}, r"1..8 and 1..3; got \(1, 4\)"),
        ({"rank": {"d": 2}}, "can be factored here: c; got 'd'"),
        ({"rank": {"c": 2}, "kind": "cp"}, "kind is one of channel, spatial, tucker2; got 'cp'"),
        ({}, "got neither"),
        ({"rank": 2, "energy": 0.5}, "got both"),
        ({"energy": 1.5}, r"in \(0, 1\]; got 1.5"),
        ({"rank": {"c": (1, 1)}, "kind": "tucker2", "sweeps": -1}, "0 or more; got -1"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(change, words):
    model = nn.Sequential(c=CONV)
    with pytest.raises(ValueError, match=words):
        factorize_convs(model, **change)
    assert model.get("c") is CONV


def test_the_last_rank_that_is_not_refused_makes_it_smaller_and_quicker():
    assert conv_cost(CONV) == (216, 216) and conv_cost(CONV, (5, 3), "tucker2") == (184, 211)  # 9|36 + 135 + 40
    for kind, rank in (("channel", 6), ("spatial", 5), ("tucker2", (5, 3))):
        assert factorize_convs(nn.Sequential(c=CONV), {"c": rank}, kind=kind) == {"c": rank}


def test_a_weight_that_is_not_finite_is_refused():
    for cut, rank in ((channel_svd, 1), (spatial_svd, 1), (tucker2, (1, 1))):
        with pytest.raises(ValueError, match="holds NaN"):
            cut(np.full((2, 2, 3, 3), np.nan), rank)
