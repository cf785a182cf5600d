"""Better rounding against all roundings, a literal Optimal Brain Surgeon, central differences and numbers by hand."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, data, measure, models, nn
from tinyopt.compress.adaround import adaround, learned, push, rectified
from tinyopt.compress.gptq import column_by_column, gptq
from tinyopt.compress.rounding import better_rows, exhaustive, nearest, output_error, round_layers

IMAGES = data.digits().train.images[:60]
LINE = {"low": -7, "high": 7}


def problem(seed, n_in=6, n_out=4, n=40):
    """Weights, inputs that go up and down together, and a scale for each row."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, n_in)) + 0.3 * rng.normal(size=(n, n_in))
    weight = rng.normal(size=(n_out, n_in))
    return weight, x, abs(weight).max(axis=1, keepdims=True) / 7, np.zeros((1, 1))


def error_of(q, weight, x, scale, zero_point):
    """‖X ŵ − X w‖² of each row, with the inputs themselves."""
    return ((x @ ((q - zero_point) * scale - weight).T) ** 2).sum(axis=0)


# --- all roundings --------------------------------------------------------------------------------------


@settings(max_examples=8)
@given(seed=st.integers(0, 9999), reach=st.sampled_from([0, 1]))
def test_exhaustive_search_finds_the_best_of_all_roundings(seed, reach):
    weight, x, scale, zero = problem(seed, n_in=4, n_out=2)
    q = exhaustive(weight, x.T @ x, scale, zero, **LINE, reach=reach)
    errors = error_of(q, weight, x, scale, zero)
    for row in range(2):
        floor = np.floor(weight[row] / scale[row])
        choices = itertools.product(range(-reach, 2 + reach), repeat=4)
        tried = [np.clip(floor + choice, -7, 7) * scale[row] - weight[row] for choice in choices]
        assert errors[row] == pytest.approx(min(((x @ change) ** 2).sum() for change in tried))


@settings(max_examples=8)
@given(seed=st.integers(0, 9999))
def test_no_technique_beats_the_best_of_all_and_rows_never_get_worse_than_nearest(seed):
    weight, x, scale, zero = problem(seed)
    gram, arrays = x.T @ x, (scale, zero)
    near = nearest(weight, scale, zero, **LINE)
    best = error_of(exhaustive(weight, gram, *arrays, **LINE), weight, x, *arrays)
    soft = error_of(learned(weight, gram, *arrays, **LINE, steps=60), weight, x, *arrays)
    assert (soft >= best - 1e-9).all()  # it goes up or down, no further
    column = column_by_column(weight, gram, *arrays, **LINE)
    widest = error_of(exhaustive(weight, gram, *arrays, **LINE, reach=1), weight, x, *arrays)
    inside = (abs(column - np.floor(weight / scale) - 0.5) < 2).all(axis=1)
    assert (error_of(column, weight, x, *arrays) >= widest - 1e-9)[inside].all()
    kept, errors = better_rows(weight, gram, *arrays, near, column)
    least = np.minimum(error_of(near, weight, x, *arrays), error_of(column, weight, x, *arrays))
    np.testing.assert_allclose(error_of(kept, weight, x, *arrays), least, atol=1e-9)
    assert errors.kept == pytest.approx(least.sum()) and errors.kept <= min(errors.nearest, errors.technique) + 1e-12


def test_both_close_most_of_the_gap_between_nearest_and_best():
    gaps = {"AdaRound": [], "GPTQ": []}
    for seed in range(4):
        weight, x, *line = problem(seed, n_in=8, n_out=10)
        found = [nearest(weight, *line, **LINE)]
        found += [f(weight, x.T @ x, *line, **LINE) for f in (exhaustive, learned, column_by_column)]
        near, best, soft, column = (error_of(q, weight, x, *line).sum() for q in found)
        gaps["AdaRound"].append((soft - best) / (near - best))
        gaps["GPTQ"].append((column - best) / (near - best))
    assert np.mean(gaps["AdaRound"]) < 0.4 and np.mean(gaps["GPTQ"]) < 0.4


# --- GPTQ -----------------------------------------------------------------------------------------------


def surgeon(weight, gram, scale, zero_point, low, high, order):
    """Optimal Brain Surgeon, one row and one weight at a time, with the inverse of what is left, made anew."""
    q = np.zeros_like(weight)
    for row in range(len(weight)):
        w, left = weight[row].copy(), list(order)
        for j in order:
            inverse = np.linalg.inv(gram[np.ix_(left, left)])
            at = left.index(j)
            q[row, j] = np.clip(np.round(w[j] / scale[row, 0]) + zero_point[row, 0], low, high)
            missing = w[j] - (q[row, j] - zero_point[row, 0]) * scale[row, 0]
            w[left] -= missing / inverse[at, at] * inverse[:, at]
            left.remove(j)
    return q


@given(seed=st.integers(0, 9999), act_order=st.booleans(), affine=st.booleans())
def test_gptq_is_optimal_brain_surgeon_column_by_column(seed, act_order, affine):
    weight, x, scale, _ = problem(seed)
    gram = x.T @ x
    zero = np.round(np.random.default_rng(seed).normal(size=(4, 1))) * affine
    damped = gram + 0.01 * np.diag(gram).mean() * np.eye(6)
    order = np.argsort(-np.diag(gram), kind="stable") if act_order else np.arange(6)
    expected = surgeon(weight, damped, scale, zero, -7, 7, order)
    assert (column_by_column(weight, gram, scale, zero, **LINE, act_order=act_order) == expected).all()


def test_gptq_with_two_weights_by_hand():
    # H = [[2, 1], [1, 2]]: w = (0.4, 0.4) goes to 0 first; w₂ takes over 0.4 · 1/2 and is 0.6, so 1. Nearest: (0, 0)
    gram, one, zero = np.array([[2.0, 1.0], [1.0, 2.0]]), np.ones((1, 1)), np.zeros((1, 1))
    weight = np.array([[0.4, 0.4]])
    q = column_by_column(weight, gram, one, zero, **LINE, damping=0)
    assert q.tolist() == [[0, 1]]
    # δ = (−0.4, 0.6): 2 · 0.16 + 2 · 0.36 − 2 · 0.24 = 0.56, and of (−0.4, −0.4) 0.96
    assert output_error(q - weight, gram) == pytest.approx(0.56)
    assert output_error(np.zeros((1, 2)) - weight, gram) == pytest.approx(0.96)


def test_inputs_that_say_nothing_leave_every_weight_at_its_nearest():
    weight, _, scale, zero = problem(1)
    near = nearest(weight, scale, zero, **LINE)
    for technique in (column_by_column, learned):
        assert (technique(weight, np.zeros((6, 6)), scale, zero, **LINE) == near).all()
        assert (technique(weight, np.eye(6), scale, zero, **LINE) == near).all()  # nothing to make up for


@pytest.mark.parametrize("technique", [column_by_column, lambda *a, **k: learned(*a, **k, steps=30)])
def test_groups_are_problems_of_their_own_and_zeros_stay(technique):
    cases = [problem(seed) for seed in (1, 2, 3)]
    weight, scale = np.stack([case[0] for case in cases]), np.stack([case[2] for case in cases])
    weight[:, 1, 2] = 0
    grams = np.stack([x.T @ x for _, x, _, _ in cases])
    together = technique(weight, grams, scale, np.zeros((1, 1)), **LINE)
    assert (together[:, 1, 2] == 0).all()
    if technique is column_by_column:
        alone = [technique(weight[i], grams[i], scale[i], np.zeros((1, 1)), **LINE) for i in range(3)]
        assert (together == np.stack(alone)).all()


# --- AdaRound -------------------------------------------------------------------------------------------


def test_the_slopes_match_central_differences():
    v, h, step = np.linspace(-4, 4, 41), np.linspace(0.02, 0.98, 20), 1e-6
    there = (rectified(v + step)[0] - rectified(v - step)[0]) / (2 * step)
    np.testing.assert_allclose(rectified(v)[1], there, atol=1e-8)
    assert rectified(np.array([-9.0, 0.0, 9.0]))[0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-12)
    for beta in (2, 5.5, 20):
        f = [1 - abs(2 * (h + d) - 1) ** beta for d in (step, -step)]
        np.testing.assert_allclose(push(h, beta), (f[0] - f[1]) / (2 * step), atol=1e-6)


# --- in models ------------------------------------------------------------------------------------------


def small():
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, stride=2, rng=0), relu=nn.ReLU(), depthwise=nn.Conv2d(4, 8, 2, groups=4, rng=1),
        flatten=nn.Flatten(), fc=nn.Linear(32, 5, rng=2),
    )  # fmt: skip


SETTINGS = [{}, {"per_channel": False}, {"symmetric": False}, {"group_size": {"fc": 8}}]


@pytest.mark.parametrize("line", SETTINGS, ids=str)
@pytest.mark.parametrize("bits", [2, 4, 16])
def test_the_file_holds_the_chosen_integers(line, bits, tmp_path):
    chosen = []

    def choose(weight, gram, scale, zero_point, low, high):
        chosen.append(np.clip(np.floor(weight / scale) + zero_point, low, high))  # always down: not the nearest
        return np.where(weight == 0, zero_point, chosen[-1])

    model = small()
    round_layers(model, IMAGES, choose, bits, **line)
    tinyopt.save(model, tmp_path / "m.tiny")
    loaded = tinyopt.load(tmp_path / "m.tiny")
    for name, q in zip(("conv", "depthwise", "fc"), chosen):
        weight, view = loaded.get(f"{name}.weight"), loaded.get(f"{name}.weight").view(nn.Quantize)
        rows = weight.data.reshape(view.rows(weight.shape))
        read = np.rint(rows / view.scale) + view.zero_point
        here = model.get(f"{name}.weight")
        assert (here.data == weight.read().data).all() and (here.read().data == weight.read().data).all()
        whole = np.rint(small().get(f"{name}.weight").data.reshape(rows.shape) / view.scale) + view.zero_point
        near, down = np.clip(whole, view.low, view.high).reshape(read.shape), q.reshape(read.shape)
        n_rows = len(weight.data)
        is_near, is_down = ((read == other).reshape(n_rows, -1).all(axis=1) for other in (near, down))
        assert (is_near | is_down).all()


@pytest.mark.parametrize("technique", [gptq, lambda *a, **k: adaround(*a, **k, steps=150)], ids=["gptq", "adaround"])
def test_every_layer_comes_nearer_to_what_it_made_and_the_report_is_true(technique):
    whole = small()
    model = copy.deepcopy(whole)
    report = technique(model, IMAGES, 3)
    assert list(report) == ["conv", "depthwise", "fc"]
    assert all(r.kept <= min(r.nearest, r.technique) + 1e-12 and r.kept < r.nearest for r in report.values())
    with measure.inference(model), measure.capture(model) as now:
        model(IMAGES)
    for name, layer in report.items():  # by running the float layer on the same inputs
        mine, theirs = copy.deepcopy(model.get(name)), copy.deepcopy(whole.get(name))
        mine.bias = theirs.bias = None
        x = now[name].inputs[0]
        made, due = mine(x).data, theirs(x).data
        assert ((made - due) ** 2).sum() / (due**2).sum() == pytest.approx(layer.kept, rel=1e-3)


def test_bits_by_layer_and_masks_stay():
    model = small()
    compress.prune(model, {"fc": 0.5})
    gptq(model, IMAGES, {"fc": 4, "conv": 6})
    assert model.get("conv.weight").view(nn.Quantize).bits == 6 and not model.get("depthwise.weight").views
    weight = model.get("fc.weight")
    assert (weight.data[~weight.view(nn.Mask).keep] == 0).all()


def quantized():
    model = small()
    compress.quantize(model)
    return model


def shared():
    model = nn.Sequential(a=nn.Linear(64, 64, rng=0), b=nn.Linear(64, 64, rng=0))
    model.get("b").weight = model.get("a").weight
    return model


def broken():
    model = small()
    model.get("fc.weight").data = np.full((5, 32), np.nan, "f4")
    return model


class Idle(nn.Module):
    def __init__(self):
        self.used, self.idle = nn.Linear(8, 8, rng=0), nn.Linear(8, 8, rng=0)

    def forward(self, x):
        return self.used(x)


BAD = np.where(np.arange(8) == 3, np.inf, IMAGES)
W, GRAM, ONE = np.ones((2, 3)), np.eye(3), np.ones((1, 1))
REFUSED = [
    (lambda: gptq(small(), IMAGES[:0]), "calibration needs images.*got none"),
    (lambda: gptq(small(), BAD), "calibration images must be finite"),
    (lambda: adaround(small(), BAD * np.nan), "calibration images must be finite"),
    (lambda: gptq(broken(), IMAGES), "fc.weight must be finite"),
    (lambda: gptq(quantized(), IMAGES), "under a view Quantize already"),
    (lambda: gptq(shared(), IMAGES), "a shares its weight with b"),
    (lambda: gptq(nn.Sequential(low=nn.LowRankLinear(8, 8, 2)), IMAGES), "low.down is a LowRankLinear's: skip='low'"),
    (lambda: gptq(Idle(), IMAGES), "idle does not run"),
    (lambda: gptq(nn.Sequential(nn.Flatten()), IMAGES), "no weight matrix"),
    (lambda: gptq(small(), IMAGES, 1), "1 bit has two values and no 0"),
    (lambda: gptq(small(), IMAGES, 17), "bits in 1..16; got 17"),
    (lambda: gptq(small(), IMAGES, 0), "bits in 1..16; got 0"),
    (lambda: gptq(small(), IMAGES, group_size=5), "group size divides"),
    (lambda: column_by_column(W, GRAM, ONE, ONE * 0, **LINE, damping=-1), "damping.*got -1"),
    (lambda: column_by_column(W, np.ones((3, 3)), ONE, ONE * 0, **LINE, damping=0), "take a damping"),
    (lambda: column_by_column(W, GRAM * np.nan, ONE, ONE * 0, **LINE), "gram must be finite"),
    (lambda: column_by_column(W, np.eye(4), ONE, ONE * 0, **LINE), r"\(3, 3\) for this weight; got \(4, 4\)"),
    (lambda: learned(W * np.inf, GRAM, ONE, ONE * 0, **LINE), "weight must be finite"),
    (lambda: learned(W, GRAM, ONE, ONE * 0, **LINE, steps=0), "1 or more; got 0"),
    (lambda: exhaustive(np.ones((1, 17)), np.eye(17), ONE, ONE * 0, **LINE), r"2\^16 of them.*17 weights"),
]


@pytest.mark.parametrize("attempt, sentence", REFUSED)
def test_what_cannot_be_rounded_is_refused_in_a_sentence(attempt, sentence):
    with pytest.raises(ValueError, match=sentence):
        attempt()


@pytest.mark.parametrize("technique", [gptq, adaround])
def test_a_refusal_leaves_the_model_as_it_was(technique):
    model = broken()
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    with pytest.raises(ValueError):
        technique(model, IMAGES)
    for name, parameter in model.named_parameters():
        assert not parameter.views and np.array_equal(parameter.data, before[name], equal_nan=True)


def test_lenet5_at_3_bits_answers_more_like_the_whole_network_than_nearest_rounding_does():
    whole = models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)
    distances = []
    for technique in (lambda m: compress.quantize(m, 3), lambda m: gptq(m, IMAGES, 3)):
        model = copy.deepcopy(whole)
        technique(model)
        with measure.inference(whole), measure.inference(model):
            x = data.digits().val.images
            distances.append(((model(x).data - whole(x).data) ** 2).mean())
    assert distances[1] < 0.5 * distances[0]
