"""Quantize, share, low rank, distill: each against an oracle that is not the code itself."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import Tensor, compress, gradcheck, models, nn, optim
from tinyopt.compress.share import lloyd_step
from tinyopt.errors import ShapeError

BATCH = Tensor(np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32))
numbers = hnp.arrays(np.float64, st.integers(1, 9), elements=st.integers(-20, 20).map(lambda i: i / 4))


# --- quantize -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_each_weight_is_an_integer_times_its_scale_and_within_half_a_step(bits, per_channel, symmetric):
    model = models.lenet5(image_size=8, rng=0)
    before = {name: p.data for name, p in model.named_parameters()}
    compress.quantize(model, bits, per_channel=per_channel, symmetric=symmetric)
    for name, parameter in model.named_parameters():
        view, after = parameter.view(nn.Quantize), parameter.read().data
        if name.endswith("bias"):
            assert view is None
            continue
        steps = after / view.scale
        assert np.allclose(steps, np.rint(steps), atol=1e-3)
        assert (abs(after - before[name]) <= view.scale * 0.5001).all()
        assert len(np.unique(np.rint(steps[0]))) <= 2**bits
        assert view.scale.size == (len(after) if per_channel else 1)


def test_training_goes_on_under_quantization_and_the_weights_stay_on_the_grid():
    net = nn.Linear(64, 3, rng=0)
    compress.quantize(net, 3)
    optimizer, before = optim.SGD(net.parameters(), lr=0.5), net.weight.read().data
    for _ in range(10):
        optimizer.zero_grad()
        ((net(BATCH.reshape(6, 64)) - 1.0) ** 2).mean().backward()
        optimizer.step()
    after = net.weight.read().data
    assert (after != before).any()
    assert np.allclose(
        after / net.weight.view(nn.Quantize).scale, np.rint(after / net.weight.view(nn.Quantize).scale), atol=1e-4
    )


def test_quantize_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="bits"):
        compress.quantize(nn.Linear(3, 2), 17)
    broken = nn.Linear(3, 2)
    broken.weight.data = broken.weight.data * np.nan
    with pytest.raises(ValueError, match="weight holds NaN"):
        compress.quantize(broken)
    shared = nn.Linear(3, 2, rng=0)
    compress.share(shared, 2)
    with pytest.raises(ValueError, match="stored in one way"):
        compress.quantize(shared)


# --- share ----------------------------------------------------------------------------------------


def best_error(values, k):
    """The smallest squared error of k clusters: all ways to cut the sorted numbers, one after the other."""
    x = np.sort(values)
    cuts = itertools.combinations(range(1, len(x)), min(k, len(x)) - 1)
    pieces = (np.split(x, cut) for cut in cuts)
    return min(sum(((p - p.mean()) ** 2).sum() for p in piece) for piece in pieces)


def assigned(x, centroids):
    """Each number's cluster by all distances; half way goes up. The error, and the members of each."""
    labels = np.array([max(j for j, c in enumerate(centroids) if abs(v - c) == abs(v - centroids).min()) for v in x])
    return ((x - centroids[labels]) ** 2).sum(), [x[labels == j] for j in range(len(centroids))]


@given(values=numbers, start=hnp.arrays(np.float64, st.integers(1, 5), elements=st.integers(-25, 25), unique=True))
def test_a_step_of_kmeans_takes_the_mean_of_the_nearest_and_lowers_the_error(values, start):
    x, start = np.sort(values), np.sort(start)
    before, clusters = assigned(x, start)
    filled = [members for members in clusters if len(members)]
    centroids, counts = lloyd_step(x, start)
    assert counts.tolist() == [len(members) for members in filled]
    assert np.allclose(centroids, [members.mean() for members in filled])
    assert assigned(x, centroids)[0] <= before + 1e-9


@given(values=numbers, k=st.integers(1, 4), n_steps=st.integers(1, 3))
def test_kmeans_that_is_stopped_early_still_gives_each_cluster_its_mean(values, k, n_steps):
    centroids, labels = compress.kmeans(values, k, max_steps=n_steps)
    assert set(labels) == set(range(len(centroids)))
    assert np.allclose(centroids, [values[labels == j].mean() for j in range(len(centroids))])


@given(values=numbers, k=st.integers(1, 4), start=st.sampled_from(["linear", "density", "random"]))
def test_kmeans_ends_where_no_number_and_no_centroid_wants_to_move(values, k, start):
    centroids, labels = compress.kmeans(values, k, start=start, rng=0)
    assert 1 <= len(centroids) <= min(k, len(np.unique(values)))
    assert (np.diff(centroids) > 0).all() and set(labels) == set(range(len(centroids)))
    distances = abs(values[:, None] - centroids)
    assert np.allclose(distances[np.arange(len(values)), labels], distances.min(axis=1))
    assert np.allclose(centroids, [values[labels == j].mean() for j in range(len(centroids))])
    assert ((centroids[labels] - values) ** 2).sum() >= best_error(values, k) - 1e-9


def test_kmeans_finds_clusters_that_are_plain_to_see():
    values = np.array([0.0, 5.1, 0.2, 5.0, -0.2, 9.0])
    centroids, labels = compress.kmeans(values, 3)
    assert np.allclose(centroids, [0.0, 5.05, 9.0]) and labels.tolist() == [0, 1, 0, 1, 0, 2]
    assert np.isclose(((centroids[labels] - values) ** 2).sum(), best_error(values, 3))


def test_centroids_are_trained_with_the_summed_gradient_of_their_members():
    net = nn.Linear(64, 3, rng=0)
    plain = copy.deepcopy(net)
    compress.share(net, 4)
    plain.weight.data = net.weight.read().data
    for model in (net, plain):
        (model(BATCH.reshape(6, 64)) ** 2).sum().backward()
    labels = net.weight.view(nn.Codebook).labels
    sums = [plain.weight.grad[labels == j].sum() for j in range(4)]
    assert net.weight.grad.shape == (4,) and np.allclose(net.weight.grad, sums, rtol=1e-5)


def test_zeros_need_no_centroid_and_stay_zero():
    net = nn.Linear(64, 10, rng=0)
    compress.prune(net, 0.8)
    zeros = net.weight.read().data == 0
    compress.share(net, 4)
    assert ((net.weight.read().data == 0) == zeros).all() and (net.weight.data != 0).all()
    assert [type(view) for view in net.weight.views] == [nn.Codebook, nn.Mask]


@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_kmeans_refuses_a_number_of_clusters_that_is_none(k):
    with pytest.raises(ValueError, match="number of clusters"):
        compress.kmeans(np.ones(3), k)


def test_kmeans_refuses_no_numbers_nan_and_unknown_starts():
    for values in (np.ones(0), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(ValueError, match="row of finite numbers"):
            compress.kmeans(values, 2)
    with pytest.raises(ValueError, match="'linear', 'density', 'random' or 'k-means\\+\\+'"):
        compress.kmeans(np.arange(3.0), 2, start="best")
    with pytest.raises(ValueError, match="fc9"):
        compress.share(models.lenet_300_100(image_size=8), {"fc9": 2})


def broken(model):
    model.get("fc2.weight").data = model.get("fc2.weight").data * np.float32(np.nan)


@pytest.mark.parametrize(
    "trouble, technique",
    [
        (lambda model: compress.quantize(model), compress.share),
        (lambda model: compress.share(model, {"fc2": 4}), compress.quantize),
        (broken, compress.quantize), (broken, compress.share), (broken, lambda model: compress.prune(model, 0.5)),
        (broken, lambda model: compress.factorize(model, 5)),
    ],
)  # fmt: skip
def test_a_technique_that_is_refused_leaves_the_whole_model_as_it_was(trouble, technique):
    model = models.lenet_300_100(image_size=8, rng=0)
    trouble(model)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(ValueError, match="stored in one way|finite|NaN"):
        technique(model)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name], equal_nan=after[name].dtype.kind == "f") for name in before)


# --- low rank -------------------------------------------------------------------------------------


@given(
    matrix=hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-3, 3)),
    data=st.data(),
)
def test_the_squared_error_is_the_tail_of_the_spectrum(matrix, data):
    rank = data.draw(st.integers(1, min(matrix.shape)))
    up, down = compress.truncated_svd(matrix, rank)
    assert up.shape == (len(matrix), rank) and down.shape == (rank, matrix.shape[1])
    eigenvalues = np.sort(np.linalg.eigvalsh(matrix @ matrix.T))[::-1]  # σ², by another way
    assert np.isclose(((matrix - up @ down) ** 2).sum(), max(0.0, eigenvalues[rank:].sum()), atol=1e-8)


def test_factors_stand_in_the_model_and_cost_what_they_claim():
    model = models.lenet_300_100(image_size=8, rng=0)
    weight, bias = model.get("fc1.weight").data, model.get("fc1.bias").data
    assert compress.factorize(model, {"fc1": 12}) == {"fc1": 12}
    assert compress.factorize(models.lenet_300_100(image_size=8), 20) == {"fc1": 20, "fc2": 20}  # what shrinks
    layer = model.get("fc1")
    assert type(layer) is nn.LowRankLinear and layer.up.shape == (300, 12) and layer.down.shape == (12, 64)
    up, down = compress.truncated_svd(weight, 12)
    x = BATCH.reshape(6, 64)
    assert np.allclose(layer(x).data, x.data @ (up @ down).T + bias, atol=1e-5)


def test_energy_chooses_the_smallest_rank_that_keeps_it():
    matrix = np.diag([3.0, 2.0, 1.0])  # σ² = 9, 4, 1 of 14
    assert [compress.rank_for_energy(matrix, e) for e in (0.5, 9 / 14, 0.65, 0.93, 1.0)] == [1, 1, 2, 3, 3]
    assert compress.rank_for_energy(np.zeros((3, 2)), 0.9) == 1


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"rank": {"fc1": 0}}, "in 1..64"), ({"rank": {"fc1": 60}}, "would grow from 19,200 to 21,840"),
        ({"rank": {"relu1": 3}}, "replaces Linear layers: fc1, fc2, fc3"), ({}, "neither"),
        ({"energy": 1.5}, r"in \(0, 1\]"),
    ],
)  # fmt: skip
def test_ranks_that_make_no_sense_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        compress.factorize(models.lenet_300_100(image_size=8, rng=0), **settings)


# --- distill --------------------------------------------------------------------------------------


def by_hand(student, teacher, target, temperature, alpha):
    """The loss in plain loops."""
    total = 0.0
    for z, t, label in zip(student, teacher, target):
        p = np.exp(t / temperature) / np.exp(t / temperature).sum()
        q = np.exp(z / temperature) / np.exp(z / temperature).sum()
        divergence = sum(pi * np.log(pi / qi) for pi, qi in zip(p, q))
        total += alpha * temperature**2 * divergence - (1 - alpha) * np.log(np.exp(z)[label] / np.exp(z).sum())
    return total / len(target)


@given(
    data=hnp.arrays(np.float64, (2, 3, 4), elements=st.floats(-3, 3)),
    temperature=st.floats(0.5, 9),
    alpha=st.floats(0, 1),
)
def test_the_distillation_loss_is_its_formula_and_has_its_gradient(data, temperature, alpha):
    target = np.array([0, 3, 1])
    loss = compress.distillation_loss(Tensor(data[0]), Tensor(data[1]), target, temperature=temperature, alpha=alpha)
    assert np.isclose(loss.item(), by_hand(data[0], data[1], target, temperature, alpha))
    gradcheck(
        lambda z: compress.distillation_loss(z, Tensor(data[1]), target, temperature=temperature, alpha=alpha), data[0]
    )


def test_a_student_that_equals_its_teacher_has_nothing_to_learn():
    z = Tensor(np.array([[1.0, -2.0, 0.5]]), requires_grad=True)
    compress.distillation_loss(z, z, np.array([0]), alpha=1.0).backward()
    assert np.allclose(z.grad, 0)


def test_the_teacher_is_any_function_and_gets_no_gradient():
    teacher, student = nn.Linear(64, 3, rng=0), nn.Linear(64, 3, rng=1)
    x, labels = BATCH.reshape(6, 64), np.array([0, 1, 2, 0, 1, 2])
    for someone in (teacher, lambda images: teacher(images).numpy()):
        loss, logits = compress.taught_by(someone)(student, x, labels)
        loss.backward()
        assert teacher.weight.grad is None and student.weight.grad is not None and logits.shape == (6, 3)


def test_the_teachers_logits_may_be_an_array_and_labels_probabilities():
    z, t, soft = np.random.default_rng(0).random((3, 2, 4))
    soft /= soft.sum(axis=1, keepdims=True)
    expected = compress.distillation_loss(Tensor(z), Tensor(t), Tensor(soft)).item()
    assert compress.distillation_loss(Tensor(z), t, soft).item() == expected


def test_distillation_refuses_what_it_cannot_do():
    z, labels = Tensor(np.zeros((2, 3))), np.array([0, 1])
    with pytest.raises(ValueError, match="temperature"):
        compress.distillation_loss(z, z, labels, temperature=0)
    with pytest.raises(ValueError, match="alpha"):
        compress.distillation_loss(z, z, labels, alpha=2)
    with pytest.raises(ShapeError, match=r"same classes; got \(2, 4\) and \(2, 3\)"):
        compress.distillation_loss(z, Tensor(np.zeros((2, 4))), labels)
