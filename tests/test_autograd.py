"""The engine: the chain rule over any graph, gradients that add up, and a memory that nobody can disturb."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyopt
from tinyopt import Tensor, differentiable, gradcheck, no_grad, ops
from tinyopt.autograd import backpropagate, unbroadcast
from tinyopt.errors import DtypeError, ShapeError


def leaf(*numbers):
    return Tensor(np.array(numbers), requires_grad=True)


# --- the chain rule ---


def test_backward_twice_adds_exactly_twice():
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((4, 3)).astype("float32"), requires_grad=True)
    loss = ((x @ x.T).tanh() * x.exp().sum() + x[[0, 0, 1, 3]].sum()).sum()
    loss.backward()
    once = x.grad
    loss.backward()
    assert np.array_equal(x.grad, once + once)


def test_a_diamond_sums_over_all_paths():
    x = leaf(3.0)
    a = x * 2
    b, c = a * a, a + 1
    (b * c + a).sum().backward()  # L = 4x²(2x + 1) + 2x
    assert x.grad == 24 * 9 + 8 * 3 + 2


def test_a_tensor_read_twice_by_one_op_gets_both_gradients():
    x = leaf(2.0, 3.0)
    (x * x).sum().backward()
    assert np.array_equal(x.grad, [4, 6])


def test_gradients_that_alias_are_not_added_into_each_other():
    """`add` hands one g to both inputs: adding in place into it would give the other one too much."""
    x, y = leaf(1.0), leaf(1.0)
    a, b = x * 1, y * 1
    (a + b + a + a).sum().backward()
    assert (x.grad, y.grad) == (3, 1)


@given(seed=st.integers(0, 999))
def test_random_graphs_match_central_differences(seed):
    def f(*leaves):
        rng, nodes = np.random.default_rng(seed), list(leaves)
        for _ in range(12):
            a, b = (nodes[i] for i in rng.integers(0, len(nodes), 2))
            kind = rng.integers(4)
            y = a + b if kind == 0 else a * b if kind == 1 else a - b if kind == 2 else b.sum() / a.exp()
            nodes.append(y.tanh())
        return ops.concatenate([node.reshape(-1) for node in nodes[-3:]])

    shapes = [(2, 3), (3,), (2, 1), ()]
    gradcheck(f, *[np.random.default_rng(seed).standard_normal(shape) for shape in shapes])


def test_a_graph_20000_ops_deep_works_and_is_freed():
    x = leaf(1.0, 2.0)
    y, middle = x, None
    for i in range(20_000):
        y = y * 1.0 if i % 2 else y + x * 0.0
        if i == 10_000:
            middle = weakref.ref(y)
    y.sum().backward()
    assert np.array_equal(x.grad, [1, 1])
    assert middle() is not None
    del y
    gc.collect()
    assert middle() is None


# --- what keeps a gradient ---


def test_only_leaves_keep_grad_unless_asked():
    x = leaf(1.0, 2.0)
    a = x * 3
    b = a * 2
    b.retain_grad()
    (b * b).sum().backward()
    assert a.grad is None
    assert np.array_equal(b.grad, [12, 24]) and np.array_equal(x.grad, [72, 144])


def test_what_needs_no_gradient_gets_none_and_costs_no_pullback():
    x, frozen = leaf(1.0), Tensor(np.array([2.0]))
    y = x * frozen
    assert y.node.inputs[0] is x and y.node.pullbacks[1] is None
    y.sum().backward()
    assert frozen.grad is None
    assert (frozen * 2).node is None


def test_a_leaf_may_be_the_output():
    x = leaf(1.0, 2.0)
    x.backward(np.array([5.0, 6.0]))
    assert np.array_equal(x.grad, [5, 6])


def test_backward_says_what_it_needs():
    x = leaf(1.0, 2.0)
    with pytest.raises(ShapeError, match=r"backward\(\) of shape \(2,\) needs the incoming gradient"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match=r"backward\(grad\) needs float64 of shape \(2,\); got.*\(3,\)"):
        (x * 2).backward(np.ones(3))
    with pytest.raises(ShapeError, match="needs float64.*got float32"):
        (x * 2).backward(np.ones(2, "float32"))
    with pytest.raises(RuntimeError, match="requires_grad=True, outside no_grad"):
        Tensor([1.0]).sum().backward()


def test_backpropagate_itself_stores_nothing_and_comes_latest_first():
    x = leaf(2.0)
    a = x * 3
    y = (a * a).sum()
    walked = list(backpropagate(y, np.array(1.0)))
    assert [t is u for (t, _), u in zip(walked[:1] + walked[-2:], (y, a, x))] == [True] * 3
    assert x.grad is None and walked[-1][1] == 36


def test_gradients_without_axes_are_arrays_too():
    x = Tensor(2.0, requires_grad=True)
    y = (x * x + x) * np.ones(3, "float32")  # summed up in place, and summed back from (3,)
    assert [type(g) for _, g in backpropagate(y, np.ones_like(y.data))] == [np.ndarray] * 4
    y.sum().backward()
    assert type(x.grad) is np.ndarray and x.grad == 15


# --- no_grad ---


def test_no_grad_as_context_and_as_decorator():
    x = leaf(1.0)
    with no_grad():
        assert not tinyopt.is_grad_enabled()
        assert not (x * 2).requires_grad and (x * 2).node is None
    assert (x * 2).requires_grad

    @no_grad()
    def countdown(n):  # calls itself: the same decorator is entered again before it was left
        return x * n if n == 0 else countdown(n - 1)

    assert not countdown(3).requires_grad
    assert tinyopt.is_grad_enabled()


def test_no_grad_ends_when_an_error_does_and_nests():
    with pytest.raises(ZeroDivisionError), no_grad():
        1 / 0
    assert tinyopt.is_grad_enabled()
    with no_grad():
        with no_grad():
            pass
        assert not tinyopt.is_grad_enabled()
    assert tinyopt.is_grad_enabled()


def test_detach_cuts_the_graph():
    x = leaf(3.0)
    (x * x.detach()).sum().backward()
    assert x.grad == 3


# --- broadcasting ---


@given(both=hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=(2, 3, 2)), seed=st.integers(0, 99))
def test_unbroadcast_is_the_transpose_of_broadcast_to(both, seed):
    """<broadcast(x), g> = <x, unbroadcast(g)> for all x and g: what "gradient of broadcasting" means."""
    rng, shape = np.random.default_rng(seed), both.input_shapes[0]
    x, g = rng.standard_normal(shape), rng.standard_normal(both.result_shape)
    back = unbroadcast(g, shape)
    assert back.shape == shape
    assert (np.broadcast_to(x, g.shape) * g).sum() == pytest.approx((x * back).sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("g, shape", [((2, 3), (3, 2)), ((3,), (2, 3)), ((2, 3), (2,)), ((), (1,))])
def test_unbroadcast_refuses_impossible_shapes(g, shape):
    with pytest.raises(ShapeError, match="cannot belong to an array of shape"):
        unbroadcast(np.ones(g), shape)


def test_a_rule_with_a_gradient_of_another_shape_or_type_is_named():
    def transposed(x):
        return x.T, (lambda g: g,)

    def double(x):
        return x * 2, (lambda g: g.astype("float64"),)

    x = Tensor(np.ones((2, 3), "float32"), requires_grad=True)
    with pytest.raises(ShapeError, match=r"'transposed' is wrong: a gradient of shape \(3, 2\).*\(2, 3\)"):
        differentiable(transposed)(x).sum().backward()
    with pytest.raises(DtypeError, match="rule of 'double' made float64 for an input of float32"):
        differentiable(double)(x).sum().backward()


def test_a_pullback_that_forgets_to_return_is_told_so():
    def forgets(g):
        g * 2

    def twice(x):
        return x * 2, (forgets,)

    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match="a pullback of 'twice' must return an array; got NoneType.*return"):
        differentiable(twice)(x).sum().backward()


# --- nothing that a pullback needs can change ---


def test_arrays_of_tensors_are_frozen():
    x = leaf(1.0, 2.0)
    y = x * x
    y.sum().backward()
    tensors = x, y, x[:1], x.T, x > 0, y.detach(), y.sum()
    for array in [t.data for t in tensors] + [x.grad, np.asarray(x)]:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        np.add(x.data, 1, out=x.data)
    with pytest.raises(TypeError, match="item assignment"):
        x[0] = 1


def test_the_owner_of_an_array_may_go_on_changing_it():
    mine = np.array([1.0, 2.0])
    view = mine[:]
    view.setflags(write=False)  # frozen itself, but not the memory behind it
    for given_array in (mine, view):
        x = Tensor(given_array, requires_grad=True)
        y = x * x
        before, mine[0] = mine[0], 99.0
        y.sum().backward()
        assert np.array_equal(x.grad, 2 * x.data) and x.data[0] == before
        mine[0] = before
    g = np.array([1.0, 1.0])
    x = leaf(1.0, 2.0)
    x.backward(g)
    g[:] = 7
    assert np.array_equal(x.grad, [1, 1])


def test_arrays_that_ops_are_given_directly_are_copied_too():
    mine = np.array([1.0, 2.0])
    x = leaf(3.0, 4.0)
    y = x * mine
    mine[:] = 0
    y.sum().backward()
    assert np.array_equal(x.grad, [1, 2])


def test_new_data_leaves_a_graph_built_before_alone():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.data = x.data + 10
    y.backward()
    assert np.array_equal(x.grad, [2, 4])


def test_augmented_assignment_makes_a_new_tensor():
    x = leaf(1.0)
    y = before = x * 2
    y += 1
    assert y is not before and before.item() == 2 and y.item() == 3
