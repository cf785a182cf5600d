"""Hashed weights: the hash in Python's own integers, the gradient as a matrix product, files, training."""

import copy
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyopt
import tinyopt.storage.hashed  # registers the kind
from tinyopt import Tensor, compress, data, files, gradcheck, models, nn, optim
from tinyopt.compress.hashed import hash_weights, shared_means
from tinyopt.errors import ShapeError
from tinyopt.nn.hashed import Hashed, hashed_labels, hashed_signs, hashes

HERE = np.zeros(1, "f4")


def murmur(h):
    """MurmurHash3's finalizer, in integers of any length, cut to 32 bits."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        h = ((h ^ (h >> shift)) * factor) % 2**32
    return h


def small():
    return models.lenet5(image_size=8, filters=(4, 6), units=20, rng=0)


# --- the hash -------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_the_hash_is_murmurs_on_every_machine(seed, count):
    assert hashes(HERE, count, seed).tolist() == [murmur(murmur(i) ^ murmur(seed)) for i in range(count)]


def test_the_published_values_of_the_finalizer():
    assert murmur(1) == 0x514E28B7 and murmur(0xFFFFFFFF) == 0x81F16F39  # MurmurHash3_x86_32 of nothing, those seeds


@pytest.mark.parametrize("n_values", [2, 7, 64])
def test_labels_and_signs_are_even_and_know_nothing_of_each_other(n_values):
    labels, signs = hashed_labels(HERE, (100, 256), n_values, 3), hashed_signs(HERE, (100, 256), 3)
    assert set(np.unique(signs)) == {-1, 1} and signs.dtype == "f4"
    table = np.array([np.bincount(labels[signs == s], minlength=n_values) for s in (-1, 1)])
    due = 25600 / (2 * n_values)
    chi, freedom = ((table - due) ** 2 / due).sum(), 2 * n_values - 1
    assert abs(chi - freedom) < 5 * np.sqrt(2 * freedom)  # χ² has this mean and this deviation
    other = hashed_labels(HERE, (100, 256), n_values, 4)
    assert abs((other == labels).mean() - 1 / n_values) < 0.015


# --- the view: θ = A c ----------------------------------------------------------------------------------


def assignment(shape, n_values, seed, signed):
    """A, one row after the other."""
    matrix = np.zeros((int(np.prod(shape)), n_values))
    for i in range(len(matrix)):
        sign = 1 - 2 * (murmur(murmur(i) ^ murmur(seed ^ 0xFFFFFFFF)) >> 31) if signed else 1
        matrix[i, murmur(murmur(i) ^ murmur(seed)) % n_values] = sign
    return matrix


@given(
    shape=st.sampled_from([(3, 4), (2, 3, 2, 2), (1, 1)]), n_values=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1), signed=st.booleans(),
)  # fmt: skip
def test_the_weight_is_a_times_c_and_the_gradient_a_transposed_times_g(shape, n_values, seed, signed):
    matrix, rng = assignment(shape, n_values, seed, signed), np.random.default_rng(seed)
    c, g = rng.normal(size=n_values), rng.normal(size=shape)
    parameter = nn.Parameter(c)
    parameter.attach(Hashed(shape, seed, signed))
    assert parameter.shape == shape
    weight = parameter.read()
    np.testing.assert_allclose(weight.data.reshape(-1), matrix @ c)
    (weight * Tensor(g)).sum().backward()
    np.testing.assert_allclose(parameter.grad, matrix.T @ g.reshape(-1), atol=1e-12)
    gradcheck(Hashed(shape, seed, signed), c)


@given(seed=st.integers(0, 999), n_values=st.integers(1, 6), signed=st.booleans(), masked=st.booleans())
def test_the_means_are_the_least_squares_solution(seed, n_values, signed, masked):
    rng = np.random.default_rng(seed)
    weight, keep = rng.normal(size=(4, 5)), (rng.random((4, 5)) < 0.5) | (not masked)
    matrix = assignment((4, 5), n_values, seed, signed)[keep.reshape(-1)]
    due = np.linalg.lstsq(matrix, weight[keep], rcond=None)[0]  # of those that nothing reads: the smallest, 0
    np.testing.assert_allclose(shared_means(weight, n_values, seed, signed=signed, keep=keep), due, atol=1e-12)


# --- in models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["draw", "means"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("coding", ["packed", "huffman"])
def test_a_file_holds_the_values_and_no_label(start, dtype, coding, tmp_path):
    model, path = small().astype(dtype), tmp_path / "m.tiny"
    counts = hash_weights(model, 1 / 8, start=start, rng=0)
    assert counts == {n: -(-p.size // 8) for n, p in model.named_parameters() if len(p.shape) > 1}
    model.eval()
    tinyopt.save(model, path, coding=coding)
    rows = {name: n for name, kind, _, n in files.ledger(path) if kind == "hashed"}
    assert rows == {name: k * np.dtype(dtype).itemsize for name, k in counts.items()}
    assert sum(n for *_, n in files.ledger(path)) == os.path.getsize(path)
    loaded, x = tinyopt.load(path), data.digits().val.images[:9].astype(dtype)
    assert (loaded(x).data == model(x).data).all()
    assert [v.seed for p in loaded.parameters() for v in p.views] == [*range(len(counts))]


def test_masks_stay_and_zeros_stay_zero(tmp_path):
    model = small()
    compress.prune(model, 0.5)
    zeros = {name: ~p.view(nn.Mask).keep for name, p in model.named_parameters() if p.view(nn.Mask)}
    hash_weights(model, 40, rng=0)
    tinyopt.save(model, tmp_path / "m.tiny")
    loaded = tinyopt.load(tmp_path / "m.tiny")
    for name, at in zeros.items():
        weight = loaded.get(name)
        assert [type(view) for view in weight.views] == [Hashed, nn.Mask] and weight.data.shape == (40,)
        assert (weight.read().data[at] == 0).all() and (weight.read().data[~at] != 0).all()
        assert (weight.read().data == model.get(name).read().data).all()


def test_state_dicts_copies_and_baking_keep_the_weights():
    model, other = small(), small()
    hash_weights(model, 1 / 4, rng=0)
    hash_weights(other, 1 / 4, rng=1)
    before = {name: p.read().data for name, p in model.named_parameters()}
    other.load_state_dict(model.state_dict())
    baked = copy.deepcopy(model)
    for parameter in baked.parameters():
        parameter.bake()
    for name, weight in before.items():
        assert (other.get(name).read().data == weight).all() and (baked.get(name).data == weight).all()
    assert not any(p.views for p in baked.parameters())


def test_drawn_values_have_the_variance_with_which_the_layer_began():
    model = nn.Sequential(fc=nn.Linear(300, 100, rng=0))
    before = model.get("fc.weight").data
    for start, due in (("draw", 1.0), ("means", 1 / 100)):  # a mean of 100 numbers of random sign
        hashed = copy.deepcopy(model)
        hash_weights(hashed, 300, start=start, rng=0)
        assert hashed.get("fc.weight").read().data.var() == pytest.approx(due * before.var(), rel=0.2)


def test_a_hashed_network_learns_and_its_seeds_stay():
    digits = data.digits()
    model = models.lenet_300_100(image_size=8, rng=0)
    hash_weights(model, 1 / 16, rng=0)
    images, labels = digits.train.images[:400], digits.train.labels[:400]
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    before = model.get("fc1.weight").data
    for _ in range(25):
        optimizer.zero_grad()
        tinyopt.losses.cross_entropy(model(images), labels).backward()
        optimizer.step()
    right = (model(digits.val.images).data.argmax(axis=1) == digits.val.labels).mean()
    weight = model.get("fc1.weight")
    assert right > 0.7 and weight.data.shape == before.shape and (weight.data != before).all()
    labels = hashed_labels(HERE, weight.shape, len(weight.data), 0)
    np.testing.assert_array_equal(weight.read().data, weight.data[labels] * hashed_signs(HERE, weight.shape, 0))


def quantized():
    model = small()
    compress.quantize(model)
    return model


def broken():
    model = small()
    model.get("conv2.weight").data = model.get("conv2.weight").data * np.float32(np.nan)
    return model


def attach(shape, view):
    nn.Parameter(np.ones(shape, "f4")).attach(view)


REFUSED = [
    (lambda: hash_weights(small(), 0), "1 to .* for conv1.weight.*got 0"),
    (lambda: hash_weights(small(), 10**6), "1 to .* for conv1.weight.*got 1000000"),
    (lambda: hash_weights(small(), 1.5), "got 1.5"),
    (lambda: hash_weights(small(), True), "got True"),
    (lambda: hash_weights(small(), {"fc9": 3}), "fc9"),
    (lambda: hash_weights(small(), start="best"), "'draw' or 'means'; got 'best'"),
    (lambda: hash_weights(small(), seed=-1), "0 to 2³² − 1; got -1"),
    (lambda: hash_weights(quantized(), 9), "stored in one way.*Quantize"),
    (lambda: hash_weights(broken(), 9), "conv2.weight must be finite"),
    (lambda: Hashed("3xq", 0, True), "the weight's shape"),
    (lambda: Hashed((3, 0), 0, True), "the weight's shape"),
    (lambda: attach((3, 4), Hashed((3, 4), 0, True)), r"shared values, shape \(K,\); got \(3, 4\)"),
]


@pytest.mark.parametrize("attempt, sentence", REFUSED)
def test_what_cannot_be_hashed_is_refused_in_a_sentence(attempt, sentence):
    with pytest.raises((ValueError, ShapeError), match=sentence):
        attempt()


def test_a_refusal_leaves_the_model_as_it_was():
    model = broken()
    before = model.state_dict()
    with pytest.raises(ValueError):
        hash_weights(model, 9)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)
