"""Ranks under a byte budget: against all choices, an exact program, another SVD, and the saved file."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyopt
from tinyopt import compress, data, models, nn
from tinyopt.compress.bit_budget import cheapest
from tinyopt.compress.conv_lowrank import channel_svd, spatial_svd, tucker2
from tinyopt.compress.rank_budget import factorize_to, greedy, options, ranks_for_bytes, spectra_of
from tinyopt.files import ledger
from tinyopt.nn.tied import places

IMAGES = data.digits().train.images[:150]
KINDS = "channel", "spatial", "tucker2"


def tiny(seed=0):
    """A network of 8×8 images with few ranks, and weights whose spectra fall."""
    model = nn.Sequential(
        conv1=nn.Conv2d(1, 4, 3, rng=seed), relu1=nn.ReLU(), conv2=nn.Conv2d(4, 6, 3, stride=2, rng=seed),
        flatten=nn.Flatten(), fc1=nn.Linear(24, 12, rng=seed), relu2=nn.ReLU(), fc2=nn.Linear(12, 10, rng=seed),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    for name in ("conv1", "conv2", "fc1", "fc2"):
        weight = model.get(name).weight
        falls = 2.0 ** -np.arange(len(weight.data)) * rng.uniform(0.1, 10)  # each layer at its own scale
        mixed = np.linalg.qr(rng.normal(size=(len(falls),) * 2))[0] * falls
        weight.data = np.tensordot(mixed, weight.data, 1).astype("f4")
    return model.eval()


def bytes_of_weights(model, path):
    """What a file has for all matrices and filters."""
    tinyopt.save(model, path)
    weights = {name for name, parameter in model.named_parameters() if len(parameter.shape) > 1}
    return sum(size for tensor, *_, size in ledger(path) if tensor in weights)


# --- on arrays ------------------------------------------------------------------------------------------


def ladder(rng):
    """Ranks of a random layer: sizes that rise evenly, and what they leave out; then the whole."""
    n, each = rng.integers(1, 5), rng.integers(1, 9)
    squares = np.sort(rng.random(n + rng.integers(1, 4)))[::-1] ** 3
    tails = [squares[r:].sum() / squares.sum() for r in range(1, n + 1)]
    return np.array([each * n + rng.integers(1, 9), *(each * (1 + np.arange(n)))]), np.array([0.0, *tails])


def best_of_all(sizes, errors, budget):
    """The least error of all choices that fit."""
    choices = itertools.product(*(range(len(s)) for s in sizes))
    sums = [(sum(s[i] for s, i in zip(sizes, c)), sum(e[i] for e, i in zip(errors, c))) for c in choices]
    return min(error for size, error in sums if size <= budget)


@settings(max_examples=30)
@given(seed=st.integers(0, 9999), n_layers=st.integers(1, 4), share=st.floats(0, 1))
def test_greedy_fits_and_is_the_best_for_its_bytes_or_near_by(seed, n_layers, share):
    rng = np.random.default_rng(seed)
    sizes, errors = zip(*(ladder(rng) for _ in range(n_layers)))
    least, most = sum(s.min() for s in sizes), sum(s[0] for s in sizes)
    budget = int(least + share * (most - least))
    totals = []
    for allowed in (budget, most):
        chosen = greedy(sizes, errors, allowed)
        totals.append([sum(part[i] for part, i in zip(parts, chosen)) for parts in (sizes, errors)])
    (used, left_out), (_, none) = totals
    assert used <= budget and none == 0
    best = best_of_all(sizes, errors, budget)
    assert best - 1e-12 <= left_out <= best + relaxed_gap(sizes, errors, budget) + 1e-12


def relaxed_gap(sizes, errors, budget):
    """What the step that does not fit could have gained with the bytes left, found by walking the convex hulls."""
    now, room = [int(s.argmin()) for s in sizes], budget - sum(s.min() for s in sizes)
    while True:
        steps = [((e[now[i]] - e[k]) / (s[k] - s[now[i]]), i, k) for i, (s, e) in enumerate(zip(sizes, errors))
                 for k in range(len(s)) if s[k] > s[now[i]]]  # fmt: skip
        slope, layer, option = max(steps, default=(0, 0, 0))
        cost = sizes[layer][option] - sizes[layer][now[layer]]
        if slope <= 0:
            return 0
        if cost > room:
            return slope * room
        now[layer], room = option, room - cost


def test_by_hand():
    sizes, errors = [np.array([9, 2, 4]), np.array([6, 3])], [np.array([0, 0.5, 0.1]), np.array([0, 0.6])]
    assert greedy(sizes, errors, 5) == [1, 1]  # the least there is
    assert greedy(sizes, errors, 7) == [2, 1]  # 0.2 a byte, both ways: the first
    assert greedy(sizes, errors, 10) == [2, 0]  # 0.2 a byte, against 0.02
    assert greedy(sizes, errors, 15) == [0, 0]
    with pytest.raises(ValueError, match="4 is below the least possible, 5"):
        greedy(sizes, errors, 4)


def test_where_greedy_is_not_exact():
    """3 bytes buy 3 at once, or 2.9 for 2 bytes, after which nothing fits that is worth the last one."""
    sizes, errors = [np.array([3, 0]), np.array([2, 0])], [np.array([0, 3.0]), np.array([0, 2.9])]
    assert greedy(sizes, errors, 3) == [1, 0] and best_of_all(sizes, errors, 3) == 2.9  # greedy leaves out 3


# --- of a model -----------------------------------------------------------------------------------------


def factors_of(weight, rank, kind):
    """The factors of a weight, and what they multiply to."""
    if weight.ndim == 2:
        return (pair := compress.truncated_svd(weight, rank)), pair[0] @ pair[1]
    factors = {"channel": channel_svd, "spatial": spatial_svd, "tucker2": tucker2}[kind](weight, rank)
    letters = {"channel": "rcij,orxy->ocij", "spatial": "rciy,orxj->ocij", "tucker2": "qcxy,pqij,opzw->ocij"}
    return factors, np.einsum(letters[kind], *factors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_are_all_ranks_that_make_a_layer_smaller_with_what_they_leave_out(kind):
    model = tiny()
    for name, found in options(model, kind).items():
        layer = model.get(name)
        assert (found.ranks[0], found.sizes[0], found.kept[0]) == (None, 4 * layer.weight.size, 1)
        for rank, size, kept in zip(found.ranks[1:], found.sizes[1:], found.kept[1:]):
            factors, near = factors_of(layer.weight.data, rank, kind)
            assert size == 4 * sum(part.size for part in factors)
            truly = 1 - ((near - layer.weight.data) ** 2).sum() / (layer.weight.data**2).sum()
            if kind == "tucker2" and near.ndim == 4:
                assert 0 < kept <= truly + 1e-5  # a bound
            else:
                assert kept == pytest.approx(truly, abs=1e-5)
        if layer.weight.data.ndim == 2:
            assert len(found.ranks) - 1 == compress.largest_saving_rank(layer.weight.shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_the_weights_in_the_file_fit_the_budget_and_no_other_choice_is_much_better(kind, share, tmp_path):
    model = tiny()
    found = options(model, kind).values()
    least, most = sum(o.sizes.min() for o in found), sum(o.sizes[0] for o in found)
    assert most == bytes_of_weights(model, tmp_path / "whole")
    budget = int(least + share * (most - least))
    small = copy.deepcopy(model)
    ranks = factorize_to(small, budget, kind=kind)
    got = bytes_of_weights(small, tmp_path / "small")
    assert got <= budget and (got == budget or 0 < share < 1)
    chosen = [o.ranks.index(ranks.get(name)) for name, o in options(model, kind).items()]
    assert got == sum(o.sizes[i] for o, i in zip(found, chosen))
    sizes, errors = [o.sizes for o in found], [-np.log(o.kept) for o in found]
    left_out, best = sum(e[i] for e, i in zip(errors, chosen)), least_error(sizes, errors, budget)
    assert best - 1e-12 <= left_out <= best + relaxed_gap(sizes, errors, budget) + 1e-12
    assert (tinyopt.load(tmp_path / "small")(IMAGES[:5]).data == small(IMAGES[:5]).data).all()


def least_error(sizes, errors, budget):
    """The exact program of `bit_budget`, on rows of one length."""
    width = max(map(len, sizes))
    rows = [np.concatenate([part, np.full(width - len(part), part[-1])]) for part in (*sizes, *errors)]
    n = len(sizes)
    chosen = cheapest(np.array(rows[n:]), np.array(rows[:n]).astype(int), budget)
    return sum(row[i] for row, i in zip(rows[n:], chosen))


def test_a_scale_moved_from_one_layer_to_the_next_changes_no_rank():
    model, moved = tiny(), tiny()
    budget = 2000
    moved.get("fc1.weight").data = moved.get("fc1.weight").data * np.float32(0.125)
    moved.get("fc1.bias").data = moved.get("fc1.bias").data * np.float32(0.125)
    moved.get("fc2.weight").data = moved.get("fc2.weight").data * np.float32(8)
    np.testing.assert_allclose(moved(IMAGES[:5]).data, model(IMAGES[:5]).data, rtol=1e-5, atol=1e-5)
    assert ranks_for_bytes(model, budget) == ranks_for_bytes(moved, budget) != {}


def test_with_images_the_spectra_are_those_of_the_outputs_and_so_are_the_factors(tmp_path):
    model = models.lenet5(image_size=8, filters=(6, 12), units=40, rng=0).eval()
    whole = copy.deepcopy(model)
    spectra = spectra_of(model, images=IMAGES)
    x = model.get("flatten")(model.get("pool2")(model.get("conv2")(model.get("pool1")(model.get("conv1")(IMAGES)))))
    outputs = model.get("fc1")(x).data.astype("f8")
    sigma = np.linalg.svd(outputs - outputs.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(spectra["fc1"], sigma, rtol=1e-4, atol=1e-4 * sigma[0])
    ranks = factorize_to(model, 12_000, images=IMAGES)
    assert bytes_of_weights(model, tmp_path / "model") <= 12_000
    plain = factorize_to(copy.deepcopy(whole), 12_000)
    assert ranks != plain
    by_hand = copy.deepcopy(whole)
    compress.whitened.factorize_outputs(by_hand, IMAGES, ranks)
    assert (by_hand(IMAGES[:5]).data == model(IMAGES[:5]).data).all()


def test_what_cannot_be_factored_stays_and_counts_as_the_file_has_it(tmp_path):
    model = nn.Sequential(
        depth=nn.Conv2d(4, 4, 3, padding=1, groups=4, rng=0), flatten=nn.Flatten(),
        one=nn.Linear(36, 36, rng=1), two=nn.Linear(36, 36, rng=2), last=nn.Linear(36, 40, rng=3),
    )  # fmt: skip
    module, attribute, _ = places(model)["two.weight"]
    setattr(module, attribute, model.get("one.weight"))
    compress.prune(model, {"last": 0.97})
    sparse, found = bytes_of_weights(model, tmp_path / "model"), options(model)
    assert [len(o.ranks) for o in found.values()][:3] == [1, 1, 1]
    assert sum(o.sizes[0] for o in found.values()) == sparse
    assert found["last"].ranks == [None]  # so few weights take less than the two factors of rank 1


NAN = nn.Sequential(fc=nn.Linear(6, 6, rng=0))
NAN.get("fc.weight").data = NAN.get("fc.weight").data * np.float32("nan")


@pytest.mark.parametrize(
    "model, change, words",
    [
        (tiny(), {"budget": 10}, "of 4 layers, 452 to 2,640 bytes; got 10: the least is 452, at the lowest ranks"),
        (tiny(), {"budget": 2641}, "got 2,641: as they are they take 2,640: nothing has to be factored"),
        (tiny(), {"budget": float("nan")}, "got nan"),
        (tiny(), {"budget": True}, "budget is a number of bytes, such as 100_000; got True"),
        (tiny(), {"budget": "1 MB"}, "got '1 MB'"),
        (tiny(), {"budget": 1000, "kind": "cp"}, "kind is one of channel, spatial, tucker2; got 'cp'"),
        (tiny(), {"budget": 1000, "kind": "spatial", "images": IMAGES}, "kind='channel' alone; got 'spatial'"),
        (tiny(), {"budget": 1000, "images": IMAGES * np.float32("nan")}, "images must be finite"),
        (nn.Sequential(nn.ReLU()), {"budget": 1000}, "this Sequential has no Linear or Conv2d that gets smaller"),
        (nn.Sequential(nn.Linear(5, 1, rng=0)), {"budget": 10}, "no Linear or Conv2d that gets smaller"),
        (NAN, {"budget": 100}, "fc.weight holds NaN or infinity"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(model, change, words):
    before = [type(module) for module in model.modules()]
    with pytest.raises((TypeError, ValueError), match=words):
        factorize_to(model, **change)
    assert [type(module) for module in model.modules()] == before
