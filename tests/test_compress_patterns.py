"""Patterns against brute force: every group of m, every block; masks by name; what is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyopt import compress, models, nn
from tinyopt.compress.patterns import block_mask, n_m_mask, prune_blocks, prune_n_m, put_masks
from tinyopt.errors import DtypeError, ShapeError


def scores_like(rng, shape):
    """Few distinct values, so that there are ties; some below 0, as scores may be."""
    return rng.integers(-3, 4, shape).astype(float)


# --- n:m ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), m=st.integers(2, 5), data=st.data())
@settings(max_examples=40)
def test_every_group_keeps_the_best_of_all_its_choices(seed, m, data):
    rng, n = np.random.default_rng(seed), data.draw(st.integers(1, m - 1))
    shape = (3, 2 * m, *data.draw(st.sampled_from([(), (2,), (2, 2)])))
    scores = scores_like(rng, shape)
    mask = n_m_mask(scores, n, m)
    assert mask.shape == shape and mask.dtype == bool and mask.flags.c_contiguous
    for row, *place in itertools.product(range(3), *map(range, shape[2:])):
        for start in (0, m):
            group = (row, slice(start, start + m), *place)
            best = max(scores[group][list(kept)].sum() for kept in itertools.combinations(range(m), n))
            assert mask[group].sum() == n and scores[group][mask[group]].sum() == best


def test_two_of_four_by_hand_and_ties_by_memory_order():
    scores = np.array([[1.0, 4.0, 3.0, 2.0, 7.0, 7.0, 7.0, 7.0]])
    assert n_m_mask(scores).astype(int).tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]


def test_a_model_gets_two_of_four_everywhere_and_what_was_pruned_stays_pruned():
    model = models.lenet5(image_size=8, filters=(4, 4), units=8, rng=0)
    before = compress.prune(model, 0.3, skip="conv1")
    masks = prune_n_m(model, skip="conv1")
    assert set(masks) == {"conv2.weight", "fc1.weight", "fc2.weight"}
    for name, mask in masks.items():
        groups = np.moveaxis(mask, 1, -1).reshape(-1, 4)
        survivors = np.moveaxis(before[name], 1, -1).reshape(-1, 4)
        assert (groups.sum(axis=1) == np.minimum(2, survivors.sum(axis=1))).all()
        assert not (mask & ~before[name]).any()
        assert np.array_equal(model.get(name).view(nn.Mask).keep, mask)


# --- blocks ------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 999), sparsity=st.floats(0, 0.99), data=st.data())
@settings(max_examples=40)
def test_blocks_are_whole_and_no_removed_one_scores_higher_than_a_kept_one(seed, sparsity, data):
    shape = data.draw(st.sampled_from([(6,), (5, 7), (4, 4), (4, 3, 2, 2)]))
    block = data.draw(st.tuples(*[st.integers(1, 4)] * data.draw(st.integers(1, len(shape)))))
    scores = scores_like(np.random.default_rng(seed), shape)
    mask = block_mask(scores, block, sparsity=sparsity)
    corners = [range(0, n, (*block, *shape[len(block) :])[i]) for i, n in enumerate(shape)]
    kept, removed = [], []
    for corner in itertools.product(*corners):
        sides = (*block, *shape[len(block) :])
        part = tuple(slice(start, start + side) for start, side in zip(corner, sides))
        assert mask[part].all() or not mask[part].any()
        (kept if mask[part].all() else removed).append(scores[part].mean())
    assert len(removed) == int(sparsity * (len(kept) + len(removed)))
    assert not removed or max(removed) <= min(kept) + 1e-12


def test_blocks_by_hand_and_kernels_of_a_convolution():
    scores = np.array([[9.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])  # means 2.25 and 1
    assert block_mask(scores, (2, 2), sparsity=0.5).tolist() == [[True, True, False, False]] * 2
    model = nn.Sequential(nn.Conv2d(2, 4, 3, rng=0))
    mask = prune_blocks(model, (1, 1), 0.5)["0.weight"]
    kernels = mask.reshape(8, 9)
    assert sorted(kernels.sum(axis=1)) == [0] * 4 + [9] * 4
    size = abs(model.get("0.weight").data).reshape(8, 9).sum(axis=1)
    assert set(np.flatnonzero(kernels.any(axis=1))) == set(np.argsort(size)[4:])


def test_blocks_by_layer_with_scores_of_ones_own():
    model = models.lenet_300_100(image_size=8, rng=0)
    scores = {name: np.arange(p.size).reshape(p.shape) for name, p in model.named_parameters() if p.data.ndim > 1}
    masks = prune_blocks(model, (10, 4), {"fc1": 0.5, "fc2.weight": 0.25}, scores=scores)
    assert set(masks) == {"fc1.weight", "fc2.weight"}
    assert masks["fc1.weight"][150:].all() and not masks["fc1.weight"][:150].any()


# --- what is refused ---------------------------------------------------------------------------------

MLP = models.lenet_300_100(image_size=8, rng=0)
NAN = np.array([[1.0, np.nan, 2.0, 3.0]])
REFUSED = [
    (lambda: n_m_mask(np.ones((2, 4)), 4, 4), ValueError, "0 < n < m, such as 2 of 4; got n=4, m=4"),
    (lambda: n_m_mask(np.ones((2, 4)), 0, 4), ValueError, "got n=0, m=4"),
    (lambda: n_m_mask(np.ones((2, 6))), ShapeError, r"multiple of 4; got scores of shape \(2, 6\)"),
    (lambda: n_m_mask(np.ones(4)), ShapeError, r"axis 1.*got scores of shape \(4,\)"),
    (lambda: n_m_mask(NAN), ValueError, "scores with NaN cannot be ranked"),
    (lambda: block_mask(NAN, (1, 1), sparsity=0.5), ValueError, "scores with NaN cannot be ranked"),
    (lambda: block_mask(np.ones((2, 4)), (2, 2), sparsity=1.0), ValueError, r"in \[0, 1\)"),
    (lambda: block_mask(np.ones((2, 4)), (2, 0), sparsity=0.5), ValueError, r"length of 1 or more.*got \(2, 0\)"),
    (lambda: block_mask(np.ones(4), (2, 2), sparsity=0.5), ValueError, r"1 at most; got \(2, 2\)"),
    (lambda: prune_n_m(models.lenet5(image_size=8, rng=0)), ShapeError, "conv1.weight: groups of 4.*skip"),
    (lambda: prune_n_m(nn.Sequential(nn.ReLU())), ValueError, "no weight matrix or filter"),
    (lambda: prune_blocks(MLP, (2, 2), 1.0), ValueError, r"fc1.weight: sparsity is removed/all"),
    (lambda: prune_blocks(MLP, (2, 2), {"fc9": 0.5}), ValueError, "called fc9"),
    (lambda: prune_n_m(MLP, scores={}), ValueError, "no scores for fc1.weight; there are some for nothing"),
    (lambda: prune_n_m(MLP, scores={"fc1.weight": NAN}), ShapeError, r"scores for fc1.weight need its shape"),
    (
        lambda: put_masks(MLP, {"fc1.weight": np.ones((300, 64), bool), "conv1.weight": np.ones((1, 4), bool)}),
        ValueError, "a mask for conv1.weight, which this model does not have: was its layer removed",
    ),
    (lambda: put_masks(MLP, {"fc1.weight": np.ones((300, 63), bool)}), ShapeError, r"\(300, 64\); got \(300, 63\)"),
    (lambda: put_masks(MLP, {"fc1.weight": np.ones((300, 64))}), DtypeError, "Booleans.*float64"),
    (lambda: put_masks(MLP, {"fc1.weight": np.zeros((300, 64), bool)}), ValueError, "would empty fc1.weight"),
]  # fmt: skip


@pytest.mark.parametrize("attempt, error, sentence", REFUSED)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_nothing_changes(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()
    assert not any(parameter.views for parameter in MLP.parameters())
