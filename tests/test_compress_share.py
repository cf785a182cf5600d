"""Shared weights: θ = A c with A written out, one codebook for each band of rows, masks, files, bad input."""

import copy
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyopt
from tinyopt import Tensor, compress, data, files, gradcheck, nn, optim
from tinyopt.compress.hashed import hash_weights
from tinyopt.compress.kmeans_exact import exact_kmeans, squared_error
from tinyopt.compress.kmeans_starts import START
from tinyopt.compress.share import kmeans, lloyd, share
from tinyopt.compress.tied import tie
from tinyopt.errors import FormatError, ShapeError
from tinyopt.nn.grouped import GroupedCodebook, bands

X = np.random.default_rng(0).normal(size=(6, 12)).astype("f4")


def net(seed=0, dtype="float32"):
    return nn.Sequential(a=nn.Linear(12, 12, rng=seed), act=nn.ReLU(), b=nn.Linear(12, 12, rng=seed + 1)).astype(dtype)


def filters():
    return nn.Sequential(conv=nn.Conv2d(2, 6, 3, rng=0), flat=nn.Flatten(), out=nn.Linear(24, 3, rng=1))


# --- θ = A c, and Aᵀ g ----------------------------------------------------------------------------------


def assignment(parameter):
    """A, column by column: what the weight is when one value is 1 and all others are 0."""
    columns, before = [], parameter.data
    for k in range(len(before)):
        parameter.data = (np.arange(len(before)) == k).astype(before.dtype)
        columns.append(parameter.read().data.reshape(-1))
    parameter.data = before
    return np.stack(columns, axis=1)


CHOICES = {
    "k-means": lambda model: share(model, 5),
    "k-means in bands": lambda model: share(model, 3, groups=4),
    "k-means, pruned": lambda model: (compress.prune(model, 0.5), share(model, 5)),
    "hashed": lambda model: hash_weights(model, 9, rng=0),
}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_a_reads_a_c_and_gives_a_transposed_g(choice):
    model = net(dtype="float64")
    CHOICES[choice](model)
    plain = copy.deepcopy(model)
    for parameter in plain.parameters():
        parameter.bake()
    for each in (model, plain):
        (each(X.astype("f8")) ** 2).sum().backward()
    for name in ("a.weight", "b.weight"):
        shared, whole = model.get(name), plain.get(name)
        matrix = assignment(shared)
        assert set(np.unique(matrix)) <= {-1, 0, 1} and (abs(matrix).sum(axis=1) <= 1).all()
        np.testing.assert_allclose(whole.data.reshape(-1), matrix @ shared.data)
        np.testing.assert_allclose(shared.grad, matrix.T @ whole.grad.reshape(-1), atol=1e-12)


def test_tying_is_the_choice_of_identities():
    model = net(dtype="float64")
    before = np.concatenate([model.get(f"{n}.weight").data.reshape(-1) for n in "ab"])
    matrix = np.concatenate([np.eye(144), np.eye(144)])
    tie(model, "a.weight", "b.weight")
    c = model.get("a.weight")
    np.testing.assert_allclose(c.data.reshape(-1), np.linalg.lstsq(matrix, before, rcond=None)[0])
    apart = copy.deepcopy(model)
    apart["b"].weight = nn.Parameter(c.data)
    for each in (model, apart):
        (each(X.astype("f8")) ** 2).sum().backward()
    g = np.concatenate([apart.get(f"{n}.weight").grad.reshape(-1) for n in "ab"])
    np.testing.assert_allclose(c.grad.reshape(-1), matrix.T @ g, atol=1e-12)


def test_the_gradient_is_that_of_indexing_and_the_mean_is_another():
    layer = nn.Linear(12, 12, rng=0).astype("float64")
    layer.weight.data = layer.weight.data ** 3  # many near zero, few large: clusters of unequal size
    share(nn.Sequential(layer), 5)
    labels = layer.weight.view(nn.Codebook).labels
    c = Tensor(layer.weight.data, requires_grad=True)
    weight = c[labels]  # plain indexing, which knows nothing of views
    for y in (layer(X.astype("f8")), Tensor(X.astype("f8")) @ weight.T + layer.bias):
        (y**2).sum().backward()
    np.testing.assert_allclose(layer.weight.grad, c.grad, rtol=1e-10)
    gradcheck(lambda values: values[labels], layer.weight.data)
    sums, members = c.grad, np.bincount(labels.reshape(-1))
    means = sums / members
    cosine = (sums * means).sum() / np.sqrt((sums**2).sum() * (means**2).sum())
    assert len(set(members)) > 1 and cosine < 0.9  # not even the same direction


# --- starts and empty clusters --------------------------------------------------------------------------


@pytest.mark.parametrize("start", START)
def test_each_start_ends_in_a_codebook_no_better_than_the_optimum(start):
    model = net()
    before = {name: model.get(name).data.reshape(-1) for name in ("a.weight", "b.weight")}
    errors = share(model, 6, start=start, rng=3)
    for name, values in before.items():
        best = squared_error(values, *exact_kmeans(values, 6))
        came = ((model.get(name).read().data.reshape(-1).astype("f8") - values) ** 2).sum()
        assert best * (1 - 1e-6) <= errors[name] == pytest.approx(came, rel=1e-4)
        assert errors[name] < 3 * best and len(np.unique(model.get(name).read().data)) <= 6


def test_a_start_may_be_a_function_and_the_exact_one_stays():
    model = net()
    values = model.get("a.weight").data.reshape(-1)
    errors = share(model, {"a": 4}, start=lambda x, k, rng: exact_kmeans(x, k)[0])
    assert errors == {"a.weight": pytest.approx(squared_error(values, *exact_kmeans(values, 4)))}


def test_an_empty_cluster_is_dropped_or_used_again():
    values = np.array([0.0, 0.1, 0.2, 0.3, 10.0])
    assert len(kmeans(values, 3)[0]) == 2 and len(kmeans(values, 3, empty="refill")[0]) == 3
    for empty, n in (("drop", 2), ("refill", 3)):
        layer = nn.Linear(5, 1, rng=0)
        layer.weight.data = values.astype("f4").reshape(1, 5)
        share(nn.Sequential(layer), 3, empty=empty)
        assert layer.weight.data.shape == (n,)


@given(seed=st.integers(0, 99), k=st.integers(1, 6))
def test_refilling_uses_every_label(seed, k):
    values = np.random.default_rng(seed).standard_t(2, size=30)
    first = START["linear"](np.sort(values), k)
    (full, labels, _), (few, _, _) = (lloyd(values, first, empty=empty) for empty in ("refill", "drop"))
    assert len(full) == k >= len(few) and set(labels) == set(range(k))


# --- a codebook for each band of rows -------------------------------------------------------------------


@given(n=st.integers(1, 40), data_=st.data())
def test_bands_are_even_and_in_order(n, data_):
    groups = data_.draw(st.integers(1, n))
    sizes = np.bincount(bands(n, groups), minlength=groups)
    assert len(sizes) == groups and sizes.max() - sizes.min() <= 1 and (np.diff(bands(n, groups)) >= 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_a_band_is_shared_as_if_it_were_a_layer(masked):
    model = filters()
    if masked:
        compress.prune(model, 0.4)
    rows = model.get("conv.weight").read().data
    keep = model.get("conv.weight").view(nn.Mask).keep if masked else np.ones(rows.shape, bool)
    errors = share(model, {"conv": 4}, groups=3)
    weight, due = model.get("conv.weight"), 0.0
    assert weight.data.shape == (12,) and type(weight.views[0]) is GroupedCodebook
    for g in range(3):
        band, kept = rows[2 * g : 2 * g + 2], keep[2 * g : 2 * g + 2]
        centroids, labels = kmeans(band[kept], 4)
        np.testing.assert_array_equal(weight.read().data[2 * g : 2 * g + 2][kept], centroids[labels])
        due += ((centroids[labels] - band[kept]) ** 2).sum()
    assert errors["conv.weight"] == pytest.approx(due, rel=1e-5) and (weight.read().data[~keep] == 0).all()


@pytest.mark.parametrize("coding", ["packed", "huffman"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("prune", [0, 0.6])
def test_a_file_stores_labels_within_the_band(prune, dtype, coding, tmp_path):
    model, path = net(dtype=dtype).eval(), tmp_path / "m.tiny"
    if prune:
        compress.prune(model, prune, scope="layer")
    share(model, 4, groups=6)
    tinyopt.save(model, path, coding=coding)
    loaded, x = tinyopt.load(path), X.astype(dtype)
    assert (loaded(x).data == model(x).data).all()
    view = loaded.get("a.weight").view(GroupedCodebook)
    assert view.groups == 6 and (view.labels == model.get("a.weight").view(GroupedCodebook).labels)[
        model.get("a.weight").read().data != 0].all()  # fmt: skip
    rows = files.ledger(path)
    assert sum(n for *_, n in rows) == os.path.getsize(path)
    if coding == "packed" and not prune:
        n = next(n for name, _, part, n in rows if (name, part) == ("a.weight", "codebook"))
        assert n == 2 + 4 * np.dtype(dtype).itemsize + 144 * 2 / 8  # a byte, K, the values, 2 bits a label


def test_bands_are_kept_by_state_dicts_copies_and_training():
    model, other = net(), net(5)
    share(model, 3, groups=4)
    share(other, 3, groups=4)
    other.load_state_dict(model.state_dict())
    baked = copy.deepcopy(model)
    for parameter in baked.parameters():
        parameter.bake()
    assert (other(X).data == model(X).data).all() and (baked(X).data == model(X).data).all()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    (model(X) ** 2).sum().backward()
    optimizer.step()
    weight = model.get("a.weight").read().data
    assert (model(X).data != other(X).data).any() and all(len(np.unique(weight[r : r + 3])) == 3 for r in (0, 3, 6, 9))
    share(model, 4)  # and it may be shared anew, otherwise
    assert type(model.get("a.weight").views[0]) is nn.Codebook and model.get("a.weight").shape == (12, 12)


def test_a_file_of_bands_that_was_changed_is_refused(tmp_path):
    model, path = net(), tmp_path / "m.tiny"
    share(model, 4, groups=2)
    tinyopt.save(model, path)
    header, blobs = tinyopt.codec.read_container(path)
    header["tensors"]["a.weight"][1][0][1]["groups"] = 3
    tinyopt.codec.write_container(path, header, blobs)
    with pytest.raises(FormatError, match="3 codebooks of 4 values are due; got 8"):
        tinyopt.load(path)


# --- under a mask ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
def test_zero_stays_zero_through_sharing_training_and_a_file(groups, tmp_path):
    model = net()
    compress.prune(model, 0.7, scope="layer")
    zeros = {name: model.get(name).read().data == 0 for name in ("a.weight", "b.weight")}
    share(model, 2, groups=groups)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        ((model(X) - 1) ** 2).mean().backward()
        optimizer.step()
    tinyopt.save(model, tmp_path / "m.tiny")
    loaded = tinyopt.load(tmp_path / "m.tiny")
    for name, at in zeros.items():
        weight = loaded.get(name)
        assert ((weight.read().data == 0) == at).all() and (weight.data != 0).all()
        assert len(np.unique(weight.read().data)) <= 2 * groups + 1


def test_a_pruned_layer_is_left_and_a_pruned_band_reads_nothing():
    model = net()
    keep = np.ones((12, 12), bool)
    keep[:4] = False
    model.get("a.weight").prune(keep)
    model.get("b.weight").prune(np.zeros((12, 12), bool))
    assert list(share(model, 4, groups=3)) == ["a.weight"]
    assert (model.get("a.weight").read().data[:4] == 0).all() and model.get("b.weight").view(nn.Codebook) is None


# --- bad input ------------------------------------------------------------------------------------------


def few():
    model = net()
    model.get("b.weight").data = np.sign(model.get("b.weight").data)
    return model


def infinite():
    model = net()
    model.get("b.weight").data = np.full((12, 12), np.inf, np.float32)
    return model


def attach(n, labels, groups):
    nn.Parameter(np.zeros(n, "f4")).attach(GroupedCodebook(np.array(labels), groups))


def second_hashed():
    model = net()
    hash_weights(model, {"b": 9})
    return model


REFUSED = [
    (lambda: share(net(), 145), "n_values is 145, and a.weight has 144 distinct"),
    (lambda: share(few(), 3), "n_values is 3, and b.weight has 2 distinct"),
    (lambda: share(net(), 13, groups=12), "n_values is 13, and a.weight has 12 distinct.*each group stands alone"),
    (lambda: share(net(), 0), "1 or more; got 0"),
    (lambda: share(net(), True), "1 or more; got True"),
    (lambda: share(net(), 2.0), "1 or more; got 2.0"),
    (lambda: share(net(), 4, groups=0), "1 to 12; got 0"),
    (lambda: share(net(), 4, groups=13), "1 to 12; got 13"),
    (lambda: share(net(), 4, groups={"c": 2}), "no weight to compress is called c"),
    (lambda: share(net(), 4, start="best"), r"'linear', 'density', 'random' or 'k-means\+\+', or a function"),
    (lambda: share(net(), 4, start=[1.0]), r"got \[1.0\]"),
    (lambda: share(net(), 4, empty="keep"), "'drop' or 'refill'.*got 'keep'"),
    (lambda: kmeans(np.arange(9.0), 2, max_steps=0), "max_steps is an integer of 1 or more; got 0"),
    (lambda: kmeans([1.0, 2.0], 2), "array of floats; got list"),
    (lambda: kmeans(np.arange(3), 2), "array of floats; got int64"),
    (lambda: kmeans(np.arange(3.0), 2, start=lambda x, k, rng: x * np.nan), "first centroids.*finite.*nan"),
    (lambda: share(infinite(), 4), "b.weight must be finite"),
    (lambda: share(second_hashed(), 4), "stored in one way; b.weight is read through a Hashed"),
    (lambda: attach(5, [[0], [1]], 2), "2 codebooks of one size are a multiple of 2 values; got 5"),
    (lambda: attach(4, [[0, 2], [3, 3]], 2), "label // K is the row's band"),
]


@pytest.mark.parametrize("attempt, sentence", REFUSED)
def test_what_cannot_be_shared_is_refused_in_a_sentence(attempt, sentence):
    with pytest.raises((ValueError, ShapeError), match=sentence) as failure:
        attempt()
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("make, n_values", [(second_hashed, 4), (few, 3)])
def test_a_refusal_leaves_the_model_as_it_was(make, n_values):
    model = make()
    before = model.state_dict()
    with pytest.raises(ValueError):
        share(model, n_values)
    after = model.state_dict()
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)


# --- in a network ---------------------------------------------------------------------------------------


def test_trained_values_are_better_than_those_of_kmeans():
    digits = data.digits()
    images, labels = digits.train.images[:300].reshape(300, 64), digits.train.labels[:300]
    model = nn.Sequential(a=nn.Linear(64, 24, rng=0), act=nn.ReLU(), b=nn.Linear(24, 10, rng=1))

    def train(steps):
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = tinyopt.losses.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        return loss.item()

    whole = train(40)
    share(model, 3)
    before = tinyopt.losses.cross_entropy(model(images), labels).item()
    assert whole < before and train(40) < 0.8 * before
    assert all(len(np.unique(model.get(name).read().data)) == 3 for name in ("a.weight", "b.weight"))
