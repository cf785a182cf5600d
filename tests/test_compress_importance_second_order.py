"""Curvature against slow Jacobians and loops over examples; the surgeon against constrained least squares."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import device, standin  # noqa: F401 (fixtures)

from tinyopt import Tensor, backend, losses, measure, models, nn
from tinyopt.autograd import no_grad
from tinyopt.compress import importance, prune, share
from tinyopt.compress.importance import second_order
from tinyopt.compress.importance.second_order import obc, obs, update_survivors
from tinyopt.errors import ShapeError

rng = np.random.default_rng(0)
PART = IMAGES, LABELS = rng.random((5, 1, 6, 6)), np.array([0, 2, 1, 1, 0])


class Tied(nn.Module):
    """One layer that runs twice: the two gradients of an example add before they are squared."""

    def __init__(self):
        self.inner = nn.Linear(6, 6, rng=5)

    def forward(self, x):
        return self.inner(self.inner(x).relu())


def network():
    """Dense and grouped convolutions, a dense layer, one with two weights, one that runs twice; float64."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2, groups=2, rng=1), nn.ReLU(), nn.Flatten(), nn.LowRankLinear(16, 6, rank=2, rng=2), Tied(), nn.ReLU(), nn.Linear(6, 3, rng=3),
    ).astype("float64").eval()  # fmt: skip


def gradient_of(net, image, g):
    """{name: ∂(g · logits)/∂w} for one image."""
    net.zero_grad()
    net(Tensor(image[None])).backward(np.array(g)[None])
    return {name: parameter.grad for name, parameter in net.named_parameters() if parameter.data.ndim > 1}


def test_fisher_is_the_mean_square_of_each_examples_gradient():
    net, due = network(), {}
    for image, label in zip(IMAGES, LABELS):
        net.zero_grad()
        losses.cross_entropy(net(Tensor(image[None])), np.array([label])).backward()
        for name, parameter in net.named_parameters():
            due[name] = due.get(name, 0) + parameter.grad**2 / len(IMAGES)
    scores = importance.score(net, "fisher", PART, batch_size=2)
    assert len(scores) == 6
    for name, values in scores.items():
        assert np.allclose(values, net.get(name).data ** 2 * due[name] / 2, rtol=1e-9, atol=1e-18), name


def test_obd_is_the_diagonal_of_the_gauss_newton_matrix_made_of_whole_jacobians():
    net, due = network(), {}
    for image in IMAGES:
        with no_grad():
            p = np.exp(losses.OPS["log_softmax"](net(Tensor(image[None]))).data[0])
        rows = [gradient_of(net, image, one) for one in np.eye(3)]
        for name in rows[0]:
            jacobian = np.array([row[name].ravel() for row in rows])  # (classes, weights)
            diagonal = np.einsum("cw,cd,dw->w", jacobian, np.diag(p) - np.outer(p, p), jacobian)
            due[name] = due.get(name, 0) + diagonal.reshape(rows[0][name].shape) / len(IMAGES)
    scores = importance.score(net, "obd", PART, batch_size=2)
    for name, values in scores.items():
        assert np.allclose(values, net.get(name).data ** 2 * due[name] / 2, rtol=1e-9, atol=1e-18), name


@given(logits=st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_roots_multiply_to_the_curvature_of_the_softmax(logits):
    logits = np.array(logits)
    roots = second_order.softmax_roots(logits)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    for n in range(len(logits)):
        assert np.allclose(roots[:, n].T @ roots[:, n], np.diag(p[n]) - np.outer(p[n], p[n]), atol=1e-12)


# --- the surgeon ----------------------------------------------------------------------------------------


def fitted(w, X, keep, strength=0.0):
    """The row that is 0 outside `keep` with outputs nearest to w X, and the squared distance."""
    S = np.flatnonzero(keep)
    size = len(X)
    matrix = np.vstack([X.T, np.sqrt(strength) * np.eye(size)])
    due, new = matrix @ w, np.zeros(size)
    new[S] = np.linalg.lstsq(matrix[:, S], due, rcond=None)[0]
    return new, ((matrix @ new - due) ** 2).sum()


def drawn(seed, size=6, rows=3, n=15):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, size)), draw.normal(size=(size, n)), draw


@given(seed=st.integers(0, 10**6), damping=st.sampled_from([0, 0.01, 0.5]))
def test_obs_scores_are_what_least_squares_without_the_weight_leaves(seed, damping):
    w, X, _ = drawn(seed)
    strength = damping * (X**2).sum() / len(X)
    scores = obs(w, (X @ X.T)[None], damping=damping)
    for row, p in np.ndindex(*w.shape):
        assert np.isclose(scores[row, p], fitted(w[row], X, np.arange(6) != p, strength)[1])


@given(seed=st.integers(0, 10**6), damping=st.sampled_from([0, 0.01, 0.5]))
def test_survivors_are_the_constrained_least_squares_solution_and_the_surgeons_step(seed, damping):
    w, X, draw = drawn(seed)
    strength, keep = damping * (X**2).sum() / len(X), draw.random((3, 6)) < 0.5
    new = update_survivors(w, keep, (X @ X.T)[None], damping=damping)
    assert (new[~keep] == 0).all()
    inverse = np.linalg.inv(X @ X.T + strength * np.eye(6))
    for row in range(3):
        assert np.allclose(new[row], fitted(w[row], X, keep[row], strength)[0])
        R = np.flatnonzero(~keep[row])
        step = inverse[:, R] @ np.linalg.solve(inverse[np.ix_(R, R)], w[row, R])
        assert np.allclose(new[row], w[row] - step)


@given(seed=st.integers(0, 10**6))
def test_obc_removes_in_the_order_of_a_greedy_search_by_least_squares(seed):
    w, X, _ = drawn(seed, rows=2)
    scores = obc(w, (X @ X.T)[None], damping=0)
    for row in range(2):
        left, error, highest = list(range(6)), 0.0, 0.0
        while left:
            without = {p: fitted(w[row], X, np.isin(np.arange(6), [q for q in left if q != p]))[1] for p in left}
            p = min(without, key=without.get)
            highest, error = max(highest, without[p] - error), without[p]
            assert np.isclose(scores[row, p], highest)
            left.remove(p)


def test_groups_are_fitted_each_to_its_own_inputs_on_host_and_device(device):
    w, X = rng.normal(size=(4, 3, 2, 1)), rng.normal(size=(2, 6, 20))
    gram, keep = X @ X.swapaxes(1, 2), rng.random((4, 3, 2, 1)) < 0.6
    new = update_survivors(w, keep, gram, damping=0)
    for row in range(4):
        due, _ = fitted(w[row].ravel(), X[row // 2], keep[row].ravel())
        assert np.allclose(new[row].ravel(), due)
    there = [backend.to_device(array, device.name) for array in (w, keep, gram)]
    assert np.allclose(backend.to_host(update_survivors(*there, damping=0)), new)
    for technique in (obs, obc):
        assert np.allclose(backend.to_host(technique(there[0], there[2])), technique(w, gram))


def test_twins_are_cheap_alone_and_only_one_of_them_goes_when_asked_greedily():
    X = np.vstack([np.repeat(rng.normal(size=(1, 20)), 2, axis=0), rng.normal(size=(1, 20))])
    w, gram = np.array([[1.0, 1.0, 0.5]]), (X @ X.T)[None]
    assert (obs(w, gram, damping=1e-6)[0] < [1e-3, 1e-3, np.inf]).all()
    assert sorted(obc(w, gram, damping=1e-6)[0] < 1e-3) == [False, False, True]


def test_the_surgeon_leaves_a_model_nearer_to_itself_than_pruning_alone():
    net = models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0).astype("float64")
    images = np.random.default_rng(1).random((40, 1, 8, 8))
    part = (images, np.zeros(40, int))

    def outputs(model, layer):
        with no_grad(), measure.capture(model) as seen:
            model(Tensor(images))
        return seen[layer].output.data

    whole, plain, refitted = net, copy.deepcopy(net), copy.deepcopy(net)
    scores = importance.score(net, "obs", part)
    masks = importance.surgeon(refitted, 0.6, part, scores=scores)
    prune(plain, 0.6, scope="layer", scores=scores)
    errors = [((outputs(m, "conv1") - outputs(whole, "conv1")) ** 2).sum() for m in (plain, refitted)]
    assert errors[1] < 0.6 * errors[0]
    for name, mask in masks.items():
        assert np.array_equal(mask, plain.get(name).view(nn.Mask).keep)
        assert (~mask).sum() == int(0.6 * mask.size) and (refitted.get(name).data[~mask] == 0).all()
    X, keep = windows(images), masks["conv1.weight"][0].ravel()
    new, _ = fitted(whole.get("conv1.weight").data[0].ravel(), X, keep, 0.01 * (X**2).sum() / 25)
    assert np.allclose(refitted.get("conv1.weight").data[0].ravel(), new)


def windows(images):
    """All 5×5 windows of images padded by 2, one by one: (25, windows)."""
    padded = np.pad(images[:, 0], ((0, 0), (2, 2), (2, 2)))
    return np.array(
        [image[i : i + 5, j : j + 5].ravel() for image in padded for i in range(8) for j in range(8)]
    ).T


def test_inputs_that_are_always_0_are_no_trouble_unless_damping_is_0():
    w, X, keep = rng.normal(size=(2, 4)), rng.normal(size=(4, 9)), np.tile([True, True, True, False], (2, 1))
    X[1] = 0
    gram = (X @ X.T)[None]
    assert (obs(w, gram)[:, 1] < 1e-2 * w[:, 1] ** 2 * np.diagonal(gram[0]).max()).all()
    assert np.isfinite(update_survivors(w, keep, gram)).all()
    assert np.allclose(update_survivors(w, keep, gram * 0), w * keep)
    twins = np.ones((1, 2, 2))
    with pytest.raises(ValueError, match="X Xᵀ cannot be inverted"):
        obs(np.ones((1, 2)), twins, damping=0)
    with pytest.raises(ValueError, match="0 or more; got -1"):
        obs(w, gram, damping=-1)
    with pytest.raises(ShapeError, match=r"\(2, 3\) reads 3 inputs; got X Xᵀ of shape \(1, 4, 4\)"):
        update_survivors(w[:, :3], keep[:, :3], gram)


def test_layers_that_the_surgeon_cannot_know_are_named():
    net = network()
    with pytest.raises(ValueError, match=r"not of 6\.down, 6\.up, 7\.inner\.weight.*skip="):
        importance.score(net, "obs", PART)
    scores = importance.score(net, "obs", PART, skip=("6", "7"))
    assert list(scores) == ["0.weight", "3.weight", "9.weight"]
    dense = models.lenet_300_100(image_size=6, rng=0)
    share(dense, 4)
    with pytest.raises(ValueError, match="fc1.weight, fc2.weight, fc3.weight is shared"):
        importance.surgeon(dense, 0.5, PART)
