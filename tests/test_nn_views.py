"""Parameters read through views: masks, integers, codebooks, and all of them at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyopt import Tensor, no_grad, ops, substitute
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.nn import Codebook, Linear, Mask, Parameter, Quantize, View

seeds = st.integers(0, 999)


def gradient(parameter, g):
    """∂L/∂data for L = Σ g · weight."""
    parameter.grad = None
    (parameter * g).sum().backward()
    return parameter.grad


def shared(rng, shape=(4, 5), k=3):
    """A weight under a codebook, its centroids and its labels."""
    centroids, labels = rng.normal(size=k), rng.integers(0, k, shape)
    parameter = Parameter(centroids)
    parameter.attach(Codebook(labels))
    return parameter, centroids, labels


@given(seed=seeds)
def test_a_masked_weight_stays_masked_whatever_is_done_to_its_data(seed):
    rng = np.random.default_rng(seed)
    layer = Linear(5, 4, rng=rng)
    keep = rng.random((4, 5)) < 0.5
    layer.weight.prune(keep)
    for _ in range(3):
        layer.weight.grad = None
        (layer(rng.normal(size=(3, 5)).astype("f4")) ** 2).sum().backward()
        assert (layer.weight.grad[~keep] == 0).all()
        layer.weight.data = layer.weight.data - 0.1 * layer.weight.grad + 0.01  # a step, and a shift of all
        assert (layer.weight.read().data[~keep] == 0).all()
        assert (layer.weight.read().data[keep] == layer.weight.data[keep]).all()


@given(seed=seeds)
def test_a_centroids_gradient_is_the_sum_over_its_members(seed):
    rng = np.random.default_rng(seed)
    parameter, centroids, labels = shared(rng)
    g = rng.normal(size=labels.shape)
    assert parameter.shape == (4, 5) and parameter.size == 20 and parameter.data.shape == (3,)
    assert (parameter.read().data == centroids[labels]).all()
    due = [sum(g[i, j] for i in range(4) for j in range(5) if labels[i, j] == k) for k in range(3)]
    np.testing.assert_allclose(gradient(parameter, g), due, atol=1e-12)


@given(seed=seeds, mask_first=st.booleans())
def test_a_codebook_lies_below_a_mask_and_only_survivors_teach_it(seed, mask_first):
    rng = np.random.default_rng(seed)
    centroids, labels = rng.normal(size=3), rng.integers(0, 3, (4, 5))
    keep, g = rng.random((4, 5)) < 0.5, rng.normal(size=(4, 5))
    parameter = Parameter(centroids[labels])
    if mask_first:
        parameter.prune(keep)
    parameter.data = centroids
    parameter.attach(Codebook(labels))
    if not mask_first:
        parameter.prune(keep)
    assert [type(view) for view in parameter.views] == [Codebook, Mask]
    assert (parameter.read().data == np.where(keep, centroids[labels], 0)).all()
    due = [sum(g[keep & (labels == k)]) for k in range(3)]
    np.testing.assert_allclose(gradient(parameter, g), due, atol=1e-12)


def test_integers_round_clip_and_pass_the_gradient_inside_their_range():
    parameter = Parameter(np.array([0.04, 0.06, -0.26, 5.0, -5.0]))
    parameter.attach(Quantize(np.float64(0.1), np.float64(0), bits=4, low=-7, high=7))
    np.testing.assert_allclose(parameter.read().data, [0, 0.1, -0.3, 0.7, -0.7])
    assert gradient(parameter, np.full(5, 2.0)).tolist() == [2, 2, 2, 0, 0]
    parameter.prune([True, False, True, True, True])
    np.testing.assert_allclose(parameter.read().data, [0, 0, -0.3, 0.7, -0.7])
    assert gradient(parameter, np.full(5, 2.0)).tolist() == [2, 0, 2, 0, 0]


def test_weights_that_return_start_at_zero_and_ask_for_empty_optimizer_state():
    parameter = Parameter(np.float32([1, 2, 3, 4]))
    parameter.prune([True, False, False, True])
    assert parameter.restarted is None and parameter.data.tolist() == [1, 2, 3, 4]
    parameter.prune([True, True, False, False])
    assert parameter.data.tolist() == [1, 0, 3, 4] and parameter.read().data.tolist() == [1, 0, 0, 0]
    assert parameter.restarted.tolist() == [False, True, False, False]
    parameter.prune([True, True, True, True])
    assert parameter.data.tolist() == [1, 0, 0, 0]
    assert parameter.restarted.tolist() == [False, True, True, True]
    assert len(parameter.views) == 1


def test_under_a_codebook_weights_may_leave_but_not_return():
    parameter, _, _ = shared(np.random.default_rng(0), shape=(4,))
    parameter.prune([True, True, False, True])
    parameter.prune([True, False, False, True])
    before = parameter.views
    with pytest.raises(ValueError, match="cannot return under a codebook.*Prune before sharing"):
        parameter.prune([True, True, False, True])
    assert parameter.views is before


def test_what_is_kept_between_reads_is_never_stale():
    parameter = Parameter(np.float32([1, 2, 3]))
    parameter.prune([True, True, False])
    with no_grad():
        first = parameter.read()
        assert parameter.read() is first
        parameter.data = np.float32([4, 5, 6])
        assert parameter.read().data.tolist() == [4, 5, 0]
        parameter.prune([False, True, False])
        assert parameter.read().data.tolist() == [0, 5, 0]
        parameter.attach(Quantize(np.float32(2), np.float32(0), bits=8, low=-127, high=127))
        assert parameter.read().data.tolist() == [0, 4, 0]
        parameter.views = []
        assert parameter.read().data.tolist() == [4, 5, 6]
    assert parameter.read().requires_grad  # with a graph, read anew
    with pytest.raises(ValueError, match="read-only"):
        parameter.data[0] = 7


def test_what_is_kept_between_reads_is_not_kept_across_a_substitute():
    parameter = Parameter(np.float32([1, 2, 3]))
    parameter.prune([True, True, False])
    with no_grad():
        before = parameter.read()
        with substitute("mask", lambda x, keep: (x * 10, (None, None))):
            assert parameter.read().data.tolist() == [10, 20, 30]
            assert parameter.read() is parameter.read()
        assert parameter.read().data.tolist() == before.data.tolist() == [1, 2, 0]


@pytest.mark.parametrize("change", [np.asfortranarray, lambda w: np.stack([w, w], axis=2)[..., 0]])
def test_data_lie_in_the_order_in_which_a_file_gives_them_back(change):
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert not change(weight).flags.c_contiguous
    parameter = Parameter(change(weight))
    assert parameter.data.flags.c_contiguous and (parameter.data == weight).all()
    parameter.data = change(weight + 1)
    assert parameter.data.flags.c_contiguous and not parameter.data.flags.writeable


def test_a_view_of_ones_own_is_known_to_state_dicts():
    class Times(View):
        fields = ("factor",)

        def __init__(self, factor):
            self.factor = Tensor(factor).data

        def __call__(self, x):
            return x * self.factor

    here, there = Linear(2, 2, rng=0), Linear(2, 2, rng=1)
    here.weight.attach(Times(np.float32(3)))
    there.load_state_dict(here.state_dict())
    assert (there.weight.read().data == here.weight.data * 3).all()


@given(seed=seeds)
def test_bake_keeps_what_layers_see_and_drops_the_views(seed):
    rng = np.random.default_rng(seed)
    parameter, _, labels = shared(rng)
    parameter.prune(labels > 0)
    seen = parameter.read().data
    parameter.bake()
    assert parameter.views == [] and (parameter.data == seen).all() and parameter.shape == (4, 5)
    assert (gradient(parameter, np.ones((4, 5))) == 1).all()


def test_any_op_reads_through_the_views():
    parameter = Parameter(np.float32([[1, -2], [3, -4]]))
    parameter.prune([[True, True], [False, True]])
    assert parameter.sum().item() == -5 and abs(parameter).max().item() == 4
    assert parameter[1].data.tolist() == [0, -4]
    assert (ops.linear(np.eye(2, dtype="f4"), parameter).data == [[1, 0], [-2, -4]]).all()
    assert parameter.detach().data.tolist() == parameter.numpy().tolist() == [[1, -2], [0, -4]]


def test_a_new_view_takes_the_place_of_its_own_kind():
    parameter = Parameter(np.float32([1, 2]))
    parameter.attach(Mask([True, False]))
    mask = Mask([False, True])
    parameter.attach(mask)
    assert parameter.views == [mask] and parameter.view(Mask) is mask and parameter.view(Codebook) is None


def centroids(labels):
    parameter = pair()
    parameter.attach(Codebook(np.array(labels)))
    return parameter


def pair():
    return Parameter(np.float32([1, 2]))


INTEGERS = Quantize(np.float32(0.1), np.float32(0), bits=8, low=-127, high=127)
WRONG = [
    (lambda: pair().prune([True]), ShapeError, r"shape \(2,\) needs that shape; got \(1,\)"),
    (lambda: pair().attach(Mask([True])), ShapeError, r"shape \(2,\) needs that shape; got \(1,\)"),
    (lambda: pair().prune(np.array([1, 0])), DtypeError, "a mask holds Booleans.*mask = weight != 0"),
    (lambda: centroids([0, 1, 2]), ValueError, r"labels must lie in \[0, 2\).*got 0 to 2"),
    (lambda: centroids([0, -1]), ValueError, r"labels must lie in \[0, 2\).*got -1 to 0"),
    (lambda: Codebook([0.0, 1.0]), DtypeError, "which centroid, in integers; got float32"),
    (lambda: Parameter([[1.0]]).attach(Codebook(np.array([0]))), ShapeError, r"shape \(K,\); got \(1, 1\)"),
    (lambda: centroids([0, 1]).attach(INTEGERS), ValueError, "stored in one way.*Codebook.*bake"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_views_that_cannot_stand_are_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()
