"""Reconstruction against NumPy's least squares on the survivors: matrices, filters, whole models."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import compress, data, measure, models, nn, train
from tinyopt.compress.reconstruct import by_gradient, least_squares, reconstruct
from tinyopt.errors import ShapeError

DIGITS = data.digits()
IMAGES = DIGITS.train.images[:150]


def problem(seed, n=40, n_in=7, n_out=4):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(n, n_in)), rng.normal(size=(n_out, n_in))
    return rng, x, weight, rng.random((n_out, n_in)) < 0.6


def by_lstsq(x, y, keep):
    """NumPy's least squares for each row, on the columns that its mask keeps."""
    found = np.zeros(keep.shape)
    for row, survivors in enumerate(keep):
        found[row, survivors] = np.linalg.lstsq(x[:, survivors], y[:, row], rcond=None)[0]
    return found


# --- on arrays ---------------------------------------------------------------------------------------


@given(seed=st.integers(0, 9999), other=st.booleans())
@settings(max_examples=30)
def test_both_ways_find_numpys_least_squares_on_the_survivors(seed, other):
    rng, x, weight, keep = problem(seed)
    y = rng.normal(size=(40, 4)) if other else x @ weight.T
    expected = by_lstsq(x, y, keep)
    found = least_squares(weight, keep, x.T @ x, x.T @ y, damping=0)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (found[~keep] == 0).all()
    np.testing.assert_allclose(by_gradient(weight, keep, x.T @ x, x.T @ y, steps=600), expected, atol=1e-4)


@given(seed=st.integers(0, 9999))
@settings(max_examples=20)
def test_no_other_weights_on_the_survivors_do_better(seed):
    rng, x, weight, keep = problem(seed)
    y = x @ weight.T
    best = least_squares(weight, keep, x.T @ x, x.T @ y)
    error = ((x @ best.T - y) ** 2).sum()
    assert error <= ((x @ (weight * keep).T - y) ** 2).sum() + 1e-9
    for _ in range(5):
        near = best + 0.01 * rng.normal(size=best.shape) * keep
        assert error <= ((x @ near.T - y) ** 2).sum()


@pytest.mark.parametrize("method", [least_squares, by_gradient])
def test_weights_that_no_input_reaches_stay_as_they_are(method):
    _, x, weight, keep = problem(3)
    x[:, 2] = 0
    keep[:, 2] = True
    new = method(weight, keep, x.T @ x, x.T @ x @ weight.T)
    np.testing.assert_allclose(new[:, 2], weight[:, 2])
    empty = method(weight, np.zeros_like(keep), x.T @ x, x.T @ x @ weight.T)
    assert (empty == 0).all()


def test_one_weight_by_hand():
    # x = (1, 1), (1, −1), (2, 0): H = diag(6, 2); y = 3 x₁ + 5 x₂: without the second, the first stays 3
    x = np.array([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]])
    weight, keep = np.array([[3.0, 5.0]]), np.array([[True, False]])
    assert np.allclose(least_squares(weight, keep, x.T @ x, x.T @ x @ weight.T, damping=0), [[3, 0]])
    x[1, 1] = 1.0  # now x₂ is like x₁: (1, 1), (1, 1), (2, 0), and takes over 2 · 5 / 6
    assert np.allclose(least_squares(weight, keep, x.T @ x, x.T @ x @ weight.T, damping=0), [[3 + 10 / 6, 0]])


# --- in models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2d(1, 4, 3, stride=2, padding=1, rng=0),
        lambda: nn.Conv2d(1, 4, (2, 3), bias=False, rng=0),
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, rng=1), nn.Conv2d(4, 6, 3, groups=2, rng=0)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0)),
    ],
    ids=["conv2d", "without bias", "grouped", "linear"],
)
@pytest.mark.parametrize("method", ["least_squares", "gradient"])
def test_a_layer_of_a_model_is_fitted_as_if_its_windows_had_been_written_out_by_hand(layer, method):
    whole = nn.Sequential(layer()).astype("float64")
    model, x = copy.deepcopy(whole), IMAGES[:40].astype(float)
    name, last = [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))][-1]
    compress.prune(model, {name: 0.4})
    limits, near = ({"damping": 1e-12}, 1e-9) if method == "least_squares" else ({"steps": 2000}, 1e-3)
    errors = reconstruct(model, whole, x, method=method, **limits)
    with measure.inference(whole), measure.capture(whole) as layers:
        whole(x)
    given_, made = layers[name].inputs[0].data, layers[name].output.data
    keep = last.weight.view(nn.Mask).keep
    for o in range(len(keep)):  # one filter or row at a time
        columns, target = windows(last, given_, o), made[:, o].reshape(-1)
        survivors = keep[o].reshape(-1)
        table = columns[:, survivors]
        table = table if last.bias is None else np.column_stack([table, np.ones(len(table))])
        best = np.linalg.lstsq(table, target, rcond=None)[0]
        mine = np.append(last.weight.read().data[o][keep[o]], [] if last.bias is None else last.bias.data[o])
        spread = ((target - target.mean()) ** 2).sum()
        assert ((table @ mine - target) ** 2).sum() <= ((table @ best - target) ** 2).sum() + near * spread
    assert errors[name][1] < errors[name][0]
    with measure.inference(model):
        made_now = model(x).data
    spread = ((made - made.mean(axis=(0, 2, 3) if made.ndim == 4 else 0, keepdims=True)) ** 2).sum()
    assert errors[name][1] == pytest.approx(((made_now - made) ** 2).sum() / spread, abs=1e-8)


def windows(layer, x, o):
    """What filter o multiplies its weights with, one row for each place of each image, by slow loops."""
    if isinstance(layer, nn.Linear):
        return x
    kh, kw = layer.kernel_size
    (sh, sw), (ph, pw) = layer.stride, layer.padding
    per = layer.in_channels // layer.groups
    first = o // (layer.out_channels // layer.groups) * per
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))[:, first : first + per]
    heights, widths = range(0, x.shape[2] - kh + 1, sh), range(0, x.shape[3] - kw + 1, sw)
    return np.array([image[:, p : p + kh, q : q + kw].ravel() for image in x for p in heights for q in widths])


def test_a_bias_that_is_masked_stays_masked():
    whole = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0)).astype("float64")
    model, x = copy.deepcopy(whole), IMAGES.astype(float)
    compress.prune(model, 0.8)
    model.get("1.bias").prune(np.arange(5) > 0)
    reconstruct(model, whole, x, damping=1e-12)
    assert model(x[:1]).data.shape == (1, 5) and model.get("1.bias").read().data[0] == 0
    survivors, flat = model.get("1.weight").view(nn.Mask).keep[0], x.reshape(150, 64)
    best = np.linalg.lstsq(flat[:, survivors], whole(x).data[:, 0], rcond=None)[0]
    np.testing.assert_allclose(model(x).data[:, 0], flat[:, survivors] @ best, atol=1e-5)


def test_a_whole_network_comes_nearer_to_what_it_was_layer_by_layer():
    whole = models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)
    train.fit(whole, (DIGITS.train, None), epochs=2, progress=False)
    for method in ("least_squares", "gradient"):
        model = copy.deepcopy(whole)
        masks = compress.prune(model, 0.6, scope="layer")
        cut = copy.deepcopy(model)
        errors = reconstruct(model, whole, IMAGES, method=method)
        assert list(errors) == ["conv1", "conv2", "fc1", "fc2"]
        assert all(after < before for before, after in errors.values())
        assert all((model.get(name).read().data[~mask] == 0).all() for name, mask in masks.items())
        with measure.inference(whole), measure.inference(model), measure.inference(cut):
            x = DIGITS.val.images  # not those that it was fitted on
            far, near = (abs(m(x).data - whole(x).data).mean() for m in (cut, model))
        assert near < 0.7 * far
        assert model.get("fc1.weight").dtype == np.float32


def quantized():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0))
    compress.prune(model, 0.5)
    compress.quantize(model)
    return model


EYE, KEEP = np.eye(3), np.ones((2, 3), bool)
PLAIN = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0))
MASKED = copy.deepcopy(PLAIN)
compress.prune(MASKED, 0.5)
REFUSED = [
    (lambda: least_squares(np.ones((2, 3)), KEEP[:, :2], EYE, np.ones((3, 2))), ShapeError, r"keep has shape \(2, 3\)"),
    (lambda: least_squares(np.ones((2, 3)), KEEP, EYE, np.ones((2, 3))), ShapeError, r"target has shape \(3, 2\)"),
    (lambda: by_gradient(np.ones((2, 3)), KEEP, EYE * np.nan, np.ones((3, 2))), ValueError, "gram must be finite"),
    (lambda: by_gradient(np.ones((2, 3)), KEEP, EYE, np.ones((3, 2)), steps=-1), ValueError, "0 or more; got -1"),
    (lambda: least_squares(np.ones((2, 3)), KEEP, EYE, np.ones((3, 2)), damping=-1.0), ValueError, "got -1.0"),
    (lambda: least_squares(np.ones((2, 3)), KEEP, np.ones((3, 3)), np.ones((3, 2)), damping=0), ValueError, "the same"),
    (lambda: reconstruct(PLAIN, PLAIN, IMAGES), ValueError, "no masked layer to reconstruct: prune"),
    (lambda: reconstruct(MASKED, PLAIN, IMAGES, method="magic"), ValueError, "one of least_squares, gradient"),
    (lambda: reconstruct(MASKED, nn.Sequential(nn.Flatten()), IMAGES), ValueError, "has no such 1"),
    (lambda: reconstruct(quantized(), PLAIN, IMAGES), ValueError, "before other views.*1 has Quantize"),
    (lambda: reconstruct(nn.Sequential(nn.ReLU()), PLAIN, IMAGES), ValueError, "no masked layer to reconstruct"),
]


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_what_cannot_be_reconstructed_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()
