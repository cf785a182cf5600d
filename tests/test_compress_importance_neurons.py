"""Importance of neurons and filters: counts, histograms and single examples, one by one."""

import copy
import math

import numpy as np
import pytest
from device_cases import assert_same
from hypothesis import given
from hypothesis import strategies as st
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import Tensor, backend, data, losses, models, nn, optim, train
from tinyopt.compress import importance, prune
from tinyopt.compress.importance import neurons
from tinyopt.errors import ShapeError

rng = np.random.default_rng(0)
PART = IMAGES, LABELS = rng.random((12, 1, 8, 8), dtype=np.float32), np.arange(12) % 10


def network():
    """A convolution with norm and ReLU, one with neither, a residual sum, and two dense layers."""
    return nn.Sequential(
        conv1=nn.Conv2d(1, 4, 3, padding=1, rng=0), norm=nn.BatchNorm2d(4), relu1=nn.ReLU(),
        block=nn.Residual(nn.Conv2d(4, 4, 3, padding=1, rng=1)), pool=nn.MaxPool2d(4), flatten=nn.Flatten(),
        fc1=nn.Linear(16, 12, rng=2), relu2=nn.ReLU(), fc2=nn.Linear(12, 10, rng=3),
    )  # fmt: skip


# --- on arrays -----------------------------------------------------------------------------------------


def test_norms_of_filters():
    w = rng.normal(size=(5, 3, 2, 2))
    assert np.allclose(neurons.l1(w), [sum(abs(v) for v in filter.flat) for filter in w])
    assert np.allclose(neurons.l2(w), [math.sqrt(sum(v * v for v in filter.flat)) for filter in w])
    assert np.array_equal(neurons.bn_scale(np.array([-2.0, 0.5])), [2, 0.5])


def test_apoz_counts_zeros():
    activation = np.maximum(rng.integers(-2, 3, size=(6, 3, 4, 5)), 0).astype(float)
    counts = [sum(z == 0 for z in activation[:, c].flat) for c in range(3)]
    assert np.allclose(neurons.apoz(activation), np.array(counts) / 120)
    assert np.allclose(neurons.active_share(activation), 1 - np.array(counts) / 120)
    assert np.allclose(neurons.mean_activation(-activation), [activation[:, c].mean() for c in range(3)])
    assert np.allclose(neurons.apoz(activation[:, :, 0, 0]), (activation[:, :, 0, 0] == 0).mean(axis=0))


def test_taylor_of_a_channel_is_by_example():
    z, g = rng.normal(size=(5, 3, 2, 2)), rng.normal(size=(5, 3, 2, 2))
    due = [np.mean([abs(np.mean(z[n, c] * g[n, c])) for n in range(5)]) for c in range(3)]
    assert np.allclose(neurons.channel_taylor(z, g), due)


def test_entropies_in_closed_form():
    n = 120
    pooled = np.stack(
        [np.ones(n), np.arange(n) % 2, np.arange(n) % 10, np.arange(n) / n, np.arange(n) % 4 == 0], axis=1
    ).astype(float)
    due = [0, math.log(2), math.log(10), math.log(10), math.log(4) / 4 - 0.75 * math.log(0.75)]
    assert np.allclose(neurons.entropy(pooled), due, atol=1e-12)


def test_mutual_information_in_closed_form():
    labels = np.arange(120) % 2
    third = np.arange(120) // 2 % 3
    pooled = np.stack([labels, 5 - 3 * labels, third, labels + 2 * third, np.zeros(120)], axis=1).astype(float)
    assert np.allclose(neurons.mutual_information(pooled, labels), np.log([2, 2, 1, 2, 1]), atol=1e-12)
    flipped = np.where(np.arange(120) < 30, 1 - labels, labels).astype(float)[:, None]  # a quarter is wrong
    due = math.log(2) + 0.25 * math.log(0.25) + 0.75 * math.log(0.75)
    assert np.allclose(neurons.mutual_information(flipped, labels), due)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 40), bins=st.integers(2, 6))
def test_both_are_sums_over_histograms(seed, n, bins):
    draw = np.random.default_rng(seed)
    pooled, labels = draw.integers(-8, 9, size=(n, 2)) / 8, draw.integers(0, 3, size=n)  # eighths: no rounding
    entropy, information = neurons.entropy(pooled, bins), neurons.mutual_information(pooled, labels, bins)
    for c in range(2):
        low, high = pooled[:, c].min(), pooled[:, c].max()
        which = [min(int((z - low) / ((high - low) or 1) * bins), bins - 1) for z in pooled[:, c]]
        p = {b: which.count(b) / n for b in which}
        assert np.isclose(entropy[c], -sum(q * math.log(q) for q in p.values()))
        pairs = list(zip(which, labels.tolist()))
        joint, q = {pair: pairs.count(pair) / n for pair in pairs}, {y: np.mean(labels == y) for y in labels.tolist()}
        due = sum(share * math.log(share / (p[b] * q[y])) for (b, y), share in joint.items())
        assert np.isclose(information[c], due, atol=1e-12)
        assert -1e-12 <= information[c] <= entropy[c] + 1e-12


@pytest.mark.parametrize(
    "call, error, sentence",
    [
        (lambda: neurons.entropy(np.ones((3, 2)), bins=1), ValueError, "2 or more; got 1"),
        (lambda: neurons.entropy(np.ones(3)), ShapeError, r"pooled activations are \(N, C\)"),
        (lambda: neurons.mutual_information(np.ones((3, 2)), np.zeros(4, int)), ShapeError, "needs one label"),
        (lambda: neurons.apoz(np.ones(3)), ShapeError, r"activations are \(N, C, ...\)"),
        (lambda: neurons.slimmed(-1), ValueError, "0 or more; got -1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


# --- of a model ----------------------------------------------------------------------------------------


def activations(net):
    """What each layer hands on, by a forward pass written out."""
    net.eval()
    x = net.get("relu1")(net.get("norm")(net.get("conv1")(IMAGES)))
    y = net.get("block").body(x)
    z = net.get("relu2")(net.get("fc1")(net.get("flatten")(net.get("pool")(x + y))))
    return {"conv1": x, "block.body": y, "fc1": z}, net.get("fc2")(z)


def trained():
    net = network()
    train.fit(net, (PART, None), epochs=2, batch_size=6, progress=False)
    return net


DUE = {  # criterion -> scores from (activation, gradient of each example's own loss)
    "apoz": lambda z, g: 1 - (z == 0).mean(axis=(0, 2)),
    "mean_activation": lambda z, g: abs(z).mean(axis=(0, 2)),
    "taylor": lambda z, g: abs((z * g).mean(axis=2)).mean(axis=0),
    "entropy": lambda z, g: neurons.entropy(z.mean(axis=2)),
    "mutual_information": lambda z, g: neurons.mutual_information(z.mean(axis=2), LABELS),
}


@pytest.mark.parametrize("criterion", DUE)
def test_channels_are_scored_by_what_is_read_of_them_after_norm_and_relu(criterion):
    net = trained()
    values, logits = activations(net)
    for value in values.values():
        value.retain_grad()
    losses.cross_entropy(logits, LABELS, reduction="sum").backward()
    net.zero_grad()
    scores = importance.channel_scores(net, criterion, PART, batch_size=5)
    assert sorted(scores) == sorted(values)  # fc2 makes the output
    for name, value in values.items():
        z, g = (array.reshape(*array.shape[:2], -1) for array in (value.data, value.grad))
        assert np.allclose(scores[name], DUE[criterion](z, g), rtol=1e-4, atol=1e-7)


def test_scores_of_weights_and_of_norms():
    net = trained()
    assert np.allclose(importance.channel_scores(net, "bn_scale", PART)["conv1"], abs(net.get("norm").weight.data))
    assert list(importance.channel_scores(net, "bn_scale", PART)) == ["conv1"]
    scores = importance.channel_scores(net, "l1", PART, skip="block.body")
    assert list(scores) == ["conv1", "fc1"]
    assert np.allclose(scores["fc1"], abs(net.get("fc1").weight.data).sum(axis=1))


@pytest.mark.parametrize("criterion", importance.CHANNEL_CRITERIA)
def test_the_model_stays_as_it_was_and_masked_filters_score_0(criterion):
    net = trained()
    prune(net, 0.3)
    net.get("conv1").weight.prune(np.arange(36).reshape(4, 1, 3, 3) >= 9)
    net.get("conv1").bias.data = net.get("conv1").bias.data * np.float32([0, 1, 1, 1])
    before = copy.deepcopy(net.state_dict())
    scores = importance.channel_scores(net, criterion, PART)
    assert all(np.array_equal(value, before[name]) for name, value in net.state_dict().items())
    if criterion in ("l1", "l2", "entropy", "mutual_information"):  # a constant, and the norm shifts constants
        assert abs(scores["conv1"][0]) < 1e-6 and (scores["conv1"][1:] > 1e-6).any()


@pytest.mark.parametrize("criterion", importance.CHANNEL_CRITERIA)
def test_channels_on_a_device_score_as_on_the_host(criterion, device):
    net = trained()
    here = importance.channel_scores(net, criterion, PART)
    there = importance.channel_scores(net.to(device.name), criterion, PART)
    assert {backend.device_of(values).name for values in there.values()} == {device.name}
    assert_same([backend.to_host(values) for values in there.values()], list(here.values()))


def test_dense_layers_of_sequences_have_their_channels_last():
    first, out = nn.Linear(8, 5, rng=0), nn.Linear(40, 3, rng=1)
    net = nn.Sequential(first=first, relu=nn.ReLU(), flatten=nn.Flatten(), out=out)
    images, labels = IMAGES[:, 0], LABELS % 3
    z = np.maximum(images @ first.weight.data.T + first.bias.data, 0)  # (N, 8, 5)
    scores = importance.channel_scores(net, "mean_activation", (images, labels))
    assert np.allclose(scores["first"], z.mean(axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda net: importance.channel_scores(net, "l3", PART), "one of l1, l2, bn_scale"),
        (lambda net: importance.channel_scores(net, "apoz", None), "'apoz' is measured on data"),
        (lambda net: importance.channel_scores(net, lambda x: x, PART), "asks for x; what is measured is weight"),
        (lambda net: importance.channel_scores(models.lenet5(image_size=8), "bn_scale", PART), "a batch norm"),
        (lambda net: importance.channel_scores(nn.Sequential(nn.Linear(8, 10)), "l1", PART), "channels"),
        (lambda net: train.fit(models.lenet5(image_size=8), (PART, None), objective=importance.slimmed()), "has none"),
    ],
)
def test_bad_calls_get_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(network())


# --- network slimming -----------------------------------------------------------------------------------


def test_the_training_term_adds_the_scales_and_their_signs():
    net = trained().eval()
    net.get("norm").weight.data = np.float32([-2, 0, 0.5, 1])
    net.zero_grad()
    plain, _ = train.classify(net, Tensor(IMAGES), LABELS)
    plain.backward()
    before = net.get("norm").weight.grad
    net.zero_grad()
    loss, logits = importance.slimmed(0.1)(net, Tensor(IMAGES), LABELS)
    loss.backward()
    assert loss.item() == pytest.approx(plain.item() + 0.35, rel=1e-5) and logits.shape == (12, 10)
    assert np.allclose(net.get("norm").weight.grad - before, [-0.1, 0, 0.1, 0.1], atol=1e-6)


def test_slimming_makes_scales_small_that_plain_training_leaves():
    def scales(objective):
        net = nn.Sequential(
            flatten=nn.Flatten(), fc1=nn.Linear(64, 40, rng=0), norm=nn.BatchNorm1d(40), relu=nn.ReLU(),
            fc2=nn.Linear(40, 10, rng=1),
        )  # fmt: skip
        optimizer = optim.Adam(net.parameters(), lr=0.02)
        train.fit(net, data.digits(), epochs=5, optimizer=optimizer, objective=objective, progress=False)
        return importance.channel_scores(net, "bn_scale", PART)["fc1"]

    plain, slim = scales(train.classify), scales(importance.slimmed(0.03))
    assert slim.mean() < plain.mean() / 3 and slim.min() < 0.05 < plain.min()
