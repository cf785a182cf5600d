"""Equalisation, SmoothQuant and bias correction: outputs that stay, ranges that meet, means that come back."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import compress, data, measure, models, nn
from tinyopt.compress.bias_correction import correct_bias, expected_shift
from tinyopt.compress.equalize import equalize, equalizing_scale
from tinyopt.compress.rescale import magnitudes, ranges, rescale, stretches
from tinyopt.compress.smooth import smooth, smoothing_scale

IMAGES = data.digits().train.images[:40]


def run(model, x=IMAGES):
    with measure.inference(model):
        return model(x.astype(model.parameters()[0].dtype)).data


def unequal(model, seed=0):
    """In float64, with rows of very different sizes, biases and norms that do something."""
    rng = np.random.default_rng(seed)
    model.astype("float64")
    for module in model.modules():
        if hasattr(module, "weight"):
            weight = module.weight
            weight.data = weight.data * np.exp(rng.normal(size=len(weight.data))).reshape(-1, *[1] * (weight.ndim - 1))
            if module.bias is not None:
                module.bias.data = rng.normal(size=module.bias.shape)
        if hasattr(module, "running_mean"):
            module.running_mean = rng.normal(size=module.running_mean.shape)
            module.running_var = np.exp(rng.normal(size=module.running_var.shape))
    return model


def plain():
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, rng=0), relu=nn.ReLU(), depthwise=nn.Conv2d(4, 4, 3, groups=4, rng=1),
        relu2=nn.ReLU(), grouped=nn.Conv2d(4, 6, 1, groups=2, rng=2), pool=nn.MaxPool2d(2), mean=nn.AvgPool2d(1),
        flatten=nn.Flatten(), fc=nn.Linear(54, 8, rng=3), relu3=nn.ReLU(), out=nn.Linear(8, 5, rng=4),
    )  # fmt: skip


NETWORKS = {
    "plain, depthwise, grouped": plain,
    "lenet5": lambda: models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0),
    "mobilenet_tiny": lambda: models.mobilenet_tiny(image_size=8, width=0.25, rng=0),
    "resnet8": lambda: models.resnet8(image_size=8, width=4, rng=0),
}


@pytest.mark.parametrize("technique", [lambda m: equalize(m, IMAGES[:1].astype(float)), lambda m: smooth(m, IMAGES.astype(float))],
                         ids=["equalize", "smooth"])  # fmt: skip
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_and_weights_do_not(name, technique):
    model = unequal(NETWORKS[name]())
    before, weights = run(model), {n: p.data for n, p in model.named_parameters()}
    scales = technique(model)
    after = run(model)
    assert abs(after - before).max() <= 1e-12 * max(1, abs(before).max())
    assert scales and all((s > 0).all() for s in scales.values())
    assert any((p.data != weights[n]).any() for n, p in model.named_parameters())


# --- equalisation ----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 9999))
def test_two_layers_end_with_the_same_range_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    model = unequal(nn.Sequential(a=nn.Linear(5, 4, rng=0), r=nn.ReLU(), b=nn.Linear(4, 3, rng=1)), seed)
    w1, w2 = model.get("a.weight").data, model.get("b.weight").data
    due = np.sqrt(abs(w1).max(axis=1) * abs(w2).max(axis=0))
    equalize(model, rng.normal(size=(1, 5)))
    np.testing.assert_allclose(abs(model.get("a.weight").data).max(axis=1), due)
    np.testing.assert_allclose(abs(model.get("b.weight").data).max(axis=0), due)


@given(seed=st.integers(0, 9999))
def test_no_other_scale_leaves_more_precision(seed):
    """Appendix A: Σ (r₁/R₁)(r₂/R₂) over channels, R the largest of all."""
    rng = np.random.default_rng(seed)
    made, read = np.exp(rng.normal(size=(2, 6)))

    def precision(s):
        first, second = made / s, read * s
        return (first / first.max() * second / second.max()).sum()

    s = equalizing_scale(made, read)
    assert all(precision(s) >= precision(s * np.exp(rng.normal(size=6))) - 1e-12 for _ in range(10))
    assert equalizing_scale(np.array([4.0, 0, 2]), np.array([1.0, 3, 0])).tolist() == [2, 1, 1]


def test_a_chain_ends_with_every_pair_equal_and_rows_before_a_norm_alike():
    model = unequal(plain())
    equalize(model, IMAGES[:1].astype(float), sweeps=200, tolerance=1e-9)
    flow = stretches(model, IMAGES[:1].astype(float))
    made, read = ranges(flow, *magnitudes(model, flow), np.ones(flow.size))
    free = [n for n in range(flow.size) if n not in flow.fixed]
    np.testing.assert_allclose(made[free], read[free], rtol=1e-6)
    assert len(free) == 4 + 4 + 6 + 8
    net = unequal(nn.Sequential(c=nn.Conv2d(1, 4, 3, rng=0), n=nn.BatchNorm2d(4), f=nn.Flatten(), l=nn.Linear(144, 2, rng=1)))
    equalize(net, IMAGES[:1].astype(float))
    rows = abs(net.get("c.weight").data).reshape(4, -1).max(axis=1)
    np.testing.assert_allclose(rows, rows.max())


def test_a_dead_channel_and_what_is_not_homogeneous_are_left_alone():
    model = unequal(plain())
    model.get("conv.weight").data = model.get("conv.weight").data * (np.arange(4) != 2).reshape(4, 1, 1, 1)
    before = run(model)
    scales = equalize(model, IMAGES[:1].astype(float))
    assert scales["conv"][2] == 1 and abs(run(model) - before).max() < 1e-12 * abs(before).max()

    class Tanh(nn.Module):
        def forward(self, x):
            return x.tanh()

    net = nn.Sequential(a=nn.Linear(64, 4, rng=0), t=Tanh(), b=nn.Linear(4, 4, rng=1), r=nn.ReLU(), c=nn.Linear(4, 2, rng=2))
    assert list(equalize(net, IMAGES[:1].reshape(1, 64))) == ["b"]


def test_equalising_mends_one_scale_for_all():
    whole = models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0).astype("float64")
    flow, rng = stretches(whole, IMAGES[:1].astype(float)), np.random.default_rng(0)
    scale = np.exp(rng.normal(size=flow.size))
    scale[list(flow.fixed)] = 1
    rescale(whole, flow, scale)  # the same function, in badly chosen scales
    distances = []
    for prepare in (lambda m: None, lambda m: equalize(m, IMAGES[:1].astype(float))):
        model = copy.deepcopy(whole)
        prepare(model)
        compress.quantize(model, 5, per_channel=False)
        distances.append(((run(model) - run(whole)) ** 2).mean())
    assert distances[1] < 0.6 * distances[0]


# --- SmoothQuant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smoothing_moves_ranges_as_the_formula_says(alpha):
    model = unequal(nn.Sequential(a=nn.Linear(64, 4, rng=0), r=nn.ReLU(), b=nn.Linear(4, 3, rng=1)))
    x = IMAGES.reshape(-1, 64).astype(float)
    with measure.inference(model), measure.capture(model) as layers:
        model(x)
    hidden, w = abs(layers["r"].output.data).max(axis=0), abs(model.get("b.weight").data).max(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.where(hidden > 0, hidden**alpha / w ** (1 - alpha), 1.0)  # equation 4
    found = smooth(model, x, alpha=alpha)
    np.testing.assert_allclose(found["b"], s)
    with measure.inference(model), measure.capture(model) as layers:
        model(x)
    np.testing.assert_allclose(abs(layers["r"].output.data).max(axis=0), hidden / s)
    np.testing.assert_allclose(abs(model.get("b.weight").data).max(axis=0), w * s)


def test_smoothing_scale_by_hand():
    # the example of Figure 5 of the paper has α = 1/2: s = √(max|X| / max|W|)
    s = smoothing_scale(np.array([16.0, 4.0, 0.0]), np.array([4.0, 1.0, 1.0]))
    assert s.tolist() == [2, 2, 1]


# --- bias correction -------------------------------------------------------------------------------------


def test_expected_shift_is_the_mean_of_the_differences():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(50, 6)), rng.normal(size=(3, 6))
    rounded = np.round(weight)
    due = (x @ rounded.T - x @ weight.T).mean(axis=0)
    np.testing.assert_allclose(expected_shift(weight, rounded, x.mean(axis=0)), due)
    other = x + rng.normal(size=x.shape)
    both = (other @ rounded.T).mean(axis=0) - (x @ weight.T).mean(axis=0)
    np.testing.assert_allclose(expected_shift(weight, rounded, x.mean(axis=0), other.mean(axis=0)), both)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_makes_the_means_of_the_whole_network(name):
    whole, x = unequal(NETWORKS[name]()), IMAGES[:12].astype(float)
    model = copy.deepcopy(whole)
    compress.quantize(model, 3)
    shifts = correct_bias(model, whole, x)
    with measure.inference(model), measure.capture(model) as now, measure.inference(whole), measure.capture(whole) as due:
        model(x), whole(x)
    for layer in shifts:
        norm = layer.replace("conv", "norm") if name in ("mobilenet_tiny", "resnet8") and "conv" in layer else layer
        made, wanted = now[norm].output.data, due[norm].output.data
        axes = (0, 2, 3) if made.ndim == 4 else 0
        np.testing.assert_allclose(made.mean(axis=axes), wanted.mean(axis=axes), atol=1e-9 * abs(wanted).max())
    assert max(abs(shift).max() for shift in shifts.values()) > 1e-3


def test_a_layer_without_a_bias_gets_one_and_the_file_knows(tmp_path):
    import tinyopt

    whole = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False, rng=0))
    model = copy.deepcopy(whole)
    compress.quantize(model, 3)
    correct_bias(model, whole, IMAGES)
    tinyopt.save(model, tmp_path / "m.tiny")
    np.testing.assert_allclose(run(tinyopt.load(tmp_path / "m.tiny")).mean(axis=0), run(whole).mean(axis=0), atol=1e-5)


# --- what cannot be --------------------------------------------------------------------------------------


def quantized():
    model = plain()
    compress.quantize(model)
    return model


def broken():
    model = plain()
    model.get("fc.weight").data = np.full((8, 54), np.inf, "f4")
    return model


SINGLE = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, rng=0))
REFUSED = [
    (lambda: equalize(quantized(), IMAGES[:1]), "before quantizing.*conv.weight has a view Quantize"),
    (lambda: equalize(broken(), IMAGES[:1]), "fc.weight must be finite"),
    (lambda: equalize(SINGLE, IMAGES[:1]), "no channel of this Sequential can get another scale"),
    (lambda: smooth(SINGLE, IMAGES), "no channel of this Sequential can get another scale"),
    (lambda: smooth(plain(), IMAGES, alpha=1.5), r"in \[0, 1\]; got 1.5"),
    (lambda: smooth(plain(), IMAGES[:0]), "calibration needs images.*got none"),
    (lambda: smooth(plain(), IMAGES * np.nan), "calibration images must be finite"),
    (lambda: smooth(quantized(), IMAGES), "before quantizing"),
    (lambda: correct_bias(quantized(), plain(), IMAGES[:0]), "calibration needs images.*got none"),
    (lambda: correct_bias(quantized(), plain(), IMAGES * np.inf), "calibration images must be finite"),
    (lambda: correct_bias(quantized(), SINGLE, IMAGES), "has no such conv"),
    (lambda: correct_bias(broken(), plain(), IMAGES), "fc must be finite"),
    (lambda: correct_bias(nn.Sequential(nn.BatchNorm2d(1)), nn.Sequential(nn.BatchNorm2d(1)), IMAGES), "no Linear or Conv2d"),
]


@pytest.mark.parametrize("attempt, sentence", REFUSED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_cannot_be_rescaled_is_refused_in_a_sentence(attempt, sentence):
    with pytest.raises(ValueError, match=sentence):
        attempt()
