"""Low rank by outputs: against gradient descent from many starts, another closed form, and the outputs themselves."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, data, measure, models, nn
from tinyopt.compress.whitened import factorize_outputs, whitened_svd
from tinyopt.errors import ShapeError

DIGITS = data.digits()
IMAGES = DIGITS.train.images[:150]


def problem(seed, n_out=4, n_in=5, n=30):
    """A weight, and inputs of which some are large, and most go up and down together."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_in)) @ rng.normal(size=(n_in, n_in)) * 3.0 ** -np.arange(n_in)
    return rng.normal(size=(n_out, n_in)), x


def error_of(near, weight, x):
    return ((x @ (near - weight).T) ** 2).sum()


def descended(weight, x, rank, seed, steps=400):
    """Factors from a random start: gradient descent on the error, each step as long as is best along its line."""
    rng = np.random.default_rng(seed)
    up, down = rng.normal(size=(len(weight), rank)), rng.normal(size=(rank, weight.shape[1]))
    for _ in range(steps):
        for side in (0, 1):  # one factor at a time: the error is then a parabola along any line
            out = (up @ down - weight) @ x.T  # (O, n)
            g = out @ x @ down.T if side == 0 else up.T @ out @ x
            along = (g @ down if side == 0 else up @ g) @ x.T
            step = (along * out).sum() / max((along**2).sum(), 1e-300)
            up, down = (up - step * g, down) if side == 0 else (up, down - step * g)
    return up @ down


@settings(max_examples=6)
@given(seed=st.integers(0, 9999), rank=st.integers(1, 3))
def test_gradient_descent_comes_near_it_and_never_below(seed, rank):
    weight, x = problem(seed)
    up, down, least = whitened_svd(weight, x.T @ x, rank)
    assert error_of(up @ down, weight, x) == pytest.approx(least, rel=1e-6, abs=1e-9)
    found = [error_of(descended(weight, x, rank, start), weight, x) for start in range(3)]
    assert min(found) >= least * (1 - 1e-9) - 1e-9
    assert min(found) <= least + 0.02 * (least + error_of(0 * weight, weight, x))


@given(seed=st.integers(0, 9999), rank=st.integers(1, 4))
def test_it_is_the_truncated_svd_of_the_whitened_weight_taken_back(seed, rank):
    weight, x = problem(seed)
    x[:, 3:] += 0.3 * np.random.default_rng(seed).normal(size=x[:, 3:].shape)  # so that H has a good inverse
    root = np.linalg.cholesky(x.T @ x)
    p, sigma, qt = np.linalg.svd(weight @ root)
    literal = (p[:, :rank] * sigma[:rank]) @ qt[:rank] @ np.linalg.inv(root)
    up, down, least = whitened_svd(weight, x.T @ x, rank)
    np.testing.assert_allclose(up @ down, literal, atol=1e-7)
    assert least == pytest.approx((sigma[rank:] ** 2).sum(), abs=1e-8)
    plain_up, plain_down = compress.truncated_svd(weight, rank)
    assert least <= error_of(plain_up @ plain_down, weight, x) + 1e-9


@given(seed=st.integers(0, 9999), rank=st.integers(1, 4))
def test_white_inputs_give_the_plain_svd(seed, rank):
    weight, _ = problem(seed)
    plain_up, plain_down = compress.truncated_svd(weight, rank)
    up, down, _ = whitened_svd(weight, np.eye(5), rank)
    np.testing.assert_allclose(up @ down, plain_up @ plain_down, atol=1e-9)


def test_inputs_that_repeat_need_no_inverse():
    weight, x = problem(3, n=30)
    x[:, 4] = x[:, 0]  # H is singular
    x[:, 2] = 0
    up, down, least = whitened_svd(weight, x.T @ x, 2)
    assert error_of(up @ down, weight, x) == pytest.approx(least)
    outputs = x @ weight.T
    assert least == pytest.approx((np.linalg.svd(outputs, compute_uv=False)[2:] ** 2).sum())
    two_inputs = np.zeros_like(x)
    two_inputs[:, :2] = x[:, :2]
    assert whitened_svd(weight, two_inputs.T @ two_inputs, 2)[2] == pytest.approx(0, abs=1e-9)  # two are enough


def test_by_hand():
    # outputs are (x1, x2) with Σ x1² = 1, Σ x2² = 9: rank 1 keeps x2, although its weight is the smaller one
    up, down, least = whitened_svd(np.diag([2.0, 1.0]), np.diag([1.0, 9.0]), 1)
    np.testing.assert_allclose(up @ down, [[0, 0], [0, 1]], atol=1e-12)
    assert least == pytest.approx(4)


def test_in_a_model_the_errors_are_those_of_the_outputs_and_less_than_without_data():
    model = models.lenet5(image_size=8, filters=(6, 12), units=40, rng=0).astype("float64").eval()
    images, whole = IMAGES.astype("f8"), copy.deepcopy(model)
    ranks = {"conv2": 5, "fc1": 6}
    plain = copy.deepcopy(model)
    compress.factorize(plain, {"fc1": 6})
    for name, (rank, error) in factorize_outputs(model, images, ranks).items():
        with measure.capture(whole) as layers:
            whole(images)
        x, y = layers[name].inputs[0], layers[name].output.data
        near, variance = model.get(name)(x).data, ((y - y.mean(axis=(0, *range(2, y.ndim)), keepdims=True)) ** 2).sum()
        assert rank == ranks[name] and error == pytest.approx(((y - near) ** 2).sum() / variance)
        rows = np.moveaxis(y, 1, -1).reshape(-1, y.shape[1])
        centred = rows - rows.mean(axis=0)
        least = np.sort(np.linalg.eigvalsh(centred.T @ centred))[:-rank].sum()  # no rank-r output comes nearer
        assert error == pytest.approx(least / variance)
        if name == "fc1":
            assert error < 0.5 * ((y - plain.get(name)(x).data) ** 2).sum() / variance


def test_without_a_bias_the_squares_count_and_nothing_is_added():
    model = nn.Sequential(nn.Linear(8, 6, bias=False, rng=0)).astype("float64")
    x = 3 + np.random.default_rng(0).normal(size=(20, 8))
    y = model(x).data
    [(_, error)] = factorize_outputs(model, x, 2).values()
    assert model.get("0").bias is None
    assert error == pytest.approx(((y - model(x).data) ** 2).sum() / (y**2).sum())


def test_a_share_of_energy_is_kept_and_the_file_is_smaller_by_it(tmp_path):
    whole = models.lenet5(image_size=8, filters=(6, 12), units=40, rng=0).eval()
    for energy in (0.6, 0.8):
        model = copy.deepcopy(whole)
        results = factorize_outputs(model, IMAGES, energy=energy)
        assert "fc1" in results and all(0 <= error <= 1 - energy + 1e-9 for _, error in results.values())
        saved = tinyopt.save(whole, tmp_path / "whole") - tinyopt.save(model, tmp_path / "small")
        numbers = [sum(p.size for p in net.parameters()) for net in (whole, model)]
        assert 0 <= 4 * (numbers[0] - numbers[1]) - saved < 1500
        assert (tinyopt.load(tmp_path / "small")(IMAGES[:9]).data == model(IMAGES[:9]).data).all()


def test_one_rank_leaves_out_what_it_would_not_make_smaller():
    model = models.lenet_300_100(image_size=8, rng=0)
    assert set(factorize_outputs(model, IMAGES, 10)) == {"fc1", "fc2"}
    assert type(model.get("fc3")) is nn.Linear  # (10, 100): 10 · 110 numbers for 1000


NAN = np.full((3, 1, 8, 8), np.nan, dtype="f4")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"rank": {"fc1": 60}}, "fc1 at rank 60 would grow from 19,200 to 21,840 numbers; use a rank of 52 or less"),
        ({"rank": {"fc1": 0}}, r"in 1..64 for a matrix \(300, 64\); got 0"),
        ({"rank": {"relu1": 2}}, "can be factored here: fc1, fc2, fc3; got 'relu1'"),
        ({}, "got neither"),
        ({"energy": 0}, r"in \(0, 1\]; got 0"),
        ({"rank": 3, "images": IMAGES[:0]}, "got none"),
        ({"rank": 3, "images": NAN}, "images must be finite"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(change, words):
    model = models.lenet_300_100(image_size=8, rng=0)
    with pytest.raises(ValueError, match=words):
        factorize_outputs(model, **{"images": IMAGES[:20], **change})
    assert type(model.get("fc1")) is nn.Linear


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"1..3 for a matrix \(3, 4\); got 4"):
        whitened_svd(np.ones((3, 4)), np.eye(4), 4)
    with pytest.raises(ShapeError, match=r"\(4, 4\) for this weight; got \(3, 3\)"):
        whitened_svd(np.ones((3, 4)), np.eye(3), 1)
    with pytest.raises(ValueError, match="weight must be finite"):
        whitened_svd(np.full((3, 4), np.inf), np.eye(4), 1)
