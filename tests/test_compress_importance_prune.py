"""Pruning by scores: the highest stay, an exact count, and what is pruned stays pruned."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import compress, nn
from tinyopt.compress import importance
from tinyopt.compress.prune import prune, top_mask
from tinyopt.errors import ShapeError

rng = np.random.default_rng(0)
numbers = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.integers(-5, 5).map(float))


def small():
    """Three weights: (4, 1, 3, 3), (12, 64) and (10, 12)."""
    return nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, rng=0), flatten=nn.Flatten(), fc1=nn.Linear(64, 12, rng=1), fc2=nn.Linear(12, 10, rng=2)
    )


@given(weight=numbers, sparsity=st.floats(0, 0.99))
def test_top_mask_on_magnitudes_is_magnitude_mask(weight, sparsity):
    assert np.array_equal(top_mask(abs(weight), sparsity), compress.magnitude_mask(weight, sparsity=sparsity))


@given(scores=numbers, sparsity=st.floats(0, 0.99))
def test_top_mask_keeps_an_exact_count_of_the_highest_and_ties_go_by_memory_order(scores, sparsity):
    n_removed = int(sparsity * scores.size)
    order = sorted(range(scores.size), key=lambda i: (scores.flat[i], i))
    assert sorted(np.flatnonzero(~top_mask(scores, sparsity)).tolist()) == sorted(order[:n_removed])


def test_infinite_scores_protect_or_remove_and_nan_is_refused():
    scores = np.array([1, np.inf, -np.inf, 5])
    assert top_mask(scores, 0.5).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match="scores with NaN cannot be ranked"):
        top_mask(np.array([1.0, np.nan]), 0.5)
    for sparsity in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"removed/all, in \[0, 1\)"):
            top_mask(scores, sparsity)


def test_scores_choose_globally_by_layer_or_only_in_the_layers_that_have_some():
    net = small()
    names = ["conv.weight", "fc1.weight", "fc2.weight"]
    scores = {name: rng.normal(size=net.get(name).shape) for name in names}
    everything = np.sort(np.concatenate([values.ravel() for values in scores.values()]))
    masks = prune(copy.deepcopy(net), 0.75, scores=scores)
    assert all(np.array_equal(masks[n], scores[n] >= everything[int(0.75 * everything.size)]) for n in names)
    masks = prune(net, 0.75, scope="layer", scores=scores, skip="fc2")
    assert {n: (~m).sum() for n, m in masks.items()} == {n: int(0.75 * scores[n].size) for n in names[:2]}
    net = small()
    assert list(prune(net, 0.5, scores={"fc1": scores["fc1.weight"].tolist()})) == ["fc1.weight"]
    assert net.get("fc2.weight").view(nn.Mask) is None
    assert list(prune(net, {"fc2": 0.5}, scores="magnitude")) == ["fc2.weight"]


def test_a_criterion_by_name_prunes_as_its_scores_do():
    for name in ("magnitude", "random", "sigma"):
        by_name, by_scores = small(), small()
        first, second = prune(by_name, 0.6, scores=name), prune(by_scores, 0.6, scores=importance.score(by_scores, name))
        assert all(np.array_equal(first[weight], second[weight]) for weight in first)
    plain = prune(small(), 0.6)
    assert all(np.array_equal(mask, prune(small(), 0.6, scores="magnitude")[name]) for name, mask in plain.items())


def test_what_is_pruned_stays_pruned_whatever_the_scores_say_later():
    net = small()
    first = prune(net, 0.5, scores="random")
    second = prune(net, 0.8, scores={name: (~mask).astype(float) for name, mask in first.items()})
    assert all((first[name] | ~mask).all() for name, mask in second.items())
    n = sum(mask.size for mask in first.values())
    assert sum((~mask).sum() for mask in second.values()) == int(0.8 * n)


@pytest.mark.parametrize(
    "scores, error, sentence",
    [
        ({"fc1": np.ones((3, 3))}, ShapeError, r"fc1.weight needs a score for each.*\(12, 64\); got \(3, 3\)"),
        ({"fc1": np.full((12, 64), np.nan)}, ValueError, "NaN cannot be ranked"),
        ({"fc9": np.ones(3)}, ValueError, "called fc9; there are conv.weight"),
        ({}, ValueError, "rank no weight"),
        ("fisher", ValueError, "'fisher' is measured on data"),
        ("size", ValueError, "a criterion is one of random, magnitude"),
    ],
)
def test_scores_that_do_not_fit_are_refused_and_nothing_is_masked(scores, error, sentence):
    net = small()
    with pytest.raises(error, match=sentence):
        prune(net, 0.5, scores=scores)
    assert not any(parameter.views for parameter in net.parameters())
