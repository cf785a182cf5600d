"""The promises of the loop around the update rules: blocks, pruned weights, saving and loading."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optim_cases import CASES, each_case, give, leaf, stepped
from standin import standin, transfers  # noqa: F401 (a fixture)

from tinyopt import Tensor, backend, nn, optim
from tinyopt.errors import ShapeError
from tinyopt.optim.optimizer import BLOCK

# --- the loop: blocks, and nothing overwritten ----------------------------------------------------


@each_case
def test_blocks_give_the_bits_of_the_whole_array_in_any_order_of_memory(kind, settings):
    rng = np.random.default_rng(3)
    start = rng.normal(size=(257, 259)).astype(np.float32)
    gradients = rng.normal(size=(3, 259, 257)).astype(np.float32).transpose(0, 2, 1)
    assert start.size > 2 * BLOCK and start.size % BLOCK and not gradients[0].flags.c_contiguous
    blockwise = getattr(optim, kind)([leaf(start.copy(order="F"))], **settings)
    whole = type("Whole", (getattr(optim, kind),), {"elementwise": False})([leaf(start)], **settings)
    assert np.array_equal(stepped(blockwise, gradients), stepped(whole, gradients))
    assert blockwise.state[0].keys() == whole.state[0].keys()
    assert all(np.array_equal(blockwise.state[0][name], whole.state[0][name]) for name in whole.state[0])


def test_the_array_made_block_by_block_is_frozen_so_that_binding_it_needs_no_copy():
    g = np.ones(BLOCK + 1)
    assert not optim.GD([leaf(g)])._updated(g, g, {}, 1).flags.writeable


class PaperAdam(optim.Optimizer):
    """Adam to the letter, rebinding its state."""

    slots = {"m": 0.0, "v": 0.0}

    def update(self, theta, g, state, t):
        m = state["m"] = 0.9 * state["m"] + 0.1 * g
        v = state["v"] = 0.99 * state["v"] + 0.01 * g**2
        return theta - self.lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)


@pytest.mark.parametrize("shape", [(), (3, 4), (BLOCK + 5,)])
def test_a_rule_of_ones_own_may_rebind_its_state(shape):
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), rng.normal(size=(4, *shape))
    own = stepped(PaperAdam([leaf(start)], lr=0.01), gradients)
    adam = stepped(optim.Adam([leaf(start)], lr=0.01, betas=(0.9, 0.99)), gradients)
    assert np.allclose(own, adam, rtol=1e-13)


@pytest.mark.parametrize("n", [4, BLOCK + 1])
def test_a_rule_that_returns_something_else_is_told_so(n):
    class InPlace(optim.Optimizer):
        def update(self, theta, g, state, t):
            return self.result(theta)

    optimizer = InPlace([leaf(np.ones(n, np.float32))], lr=1)
    results = [(lambda x: None, "NoneType"), (np.float64, "float64 of"), (lambda x: x[:1], r"\(1,\)")]
    for result, got in results:
        optimizer.result = result
        with pytest.raises(TypeError, match=f"InPlace.update must return the new theta, float32.*{got}"):
            stepped(optimizer, [np.ones(n)])
    with pytest.raises(NotImplementedError, match="must define update"):
        stepped(optim.Optimizer([leaf(np.ones(n))], lr=1), [np.ones(n)])


@pytest.mark.parametrize("n", [3, 2 * BLOCK + 1])
@each_case
def test_a_step_overwrites_nothing(kind, settings, n):
    p = leaf(np.linspace(-1, 1, n))
    optimizer = getattr(optim, kind)([p], **settings)
    for _ in range(2):
        p.grad, before = None, p.data
        cube = (p * p * p).sum()
        cube.backward()
        kept, g = before.copy(), p.grad
        optimizer.step()
        assert p.data is not before and np.array_equal(before, kept)
        assert not np.array_equal(p.data, kept) and not p.data.flags.writeable
        assert p.grad is g and np.allclose(g, 3 * kept**2)
        p.grad = None
        cube.backward()  # after the step: pullbacks still see the weights of their forward pass
        assert np.allclose(p.grad, 3 * kept**2)


def test_a_numpy_scalar_as_lr_does_not_change_the_type():
    p = leaf(np.ones(3, np.float32))
    optimizer = optim.Adam([p], lr=np.float64(0.1), betas=[np.float64(0.5), 0.9])
    optimizer.lr = np.float64(0.01)
    assert stepped(optimizer, [np.ones(3)]).dtype == optimizer.state[0]["m"].dtype == np.float32
    assert repr(optimizer) == "Adam(tensors=1, lr=0.01, betas=(0.5, 0.9), eps=1e-08, weight_decay=0)"


# --- parameters that are skipped, restarted, reshaped, moved --------------------------------------


def test_a_parameter_that_the_loss_never_reached_is_warned_of_once_by_name():
    used, unused, frozen = leaf([1.0]), leaf([[2.0]]), Tensor([3.0])
    named = nn.Parameter([4.0])
    named.name = "head.bias"
    optimizer = optim.SGD([("body.weight", used), unused, ("frozen", frozen), named])
    (used * 2.0).sum().backward()
    with pytest.warns(UserWarning) as caught:
        optimizer.step()
    (message,) = [str(warning.message) for warning in caught]
    assert "never reached parameter 1 of shape (1, 1), head.bias:" in message
    assert "body" not in message and "frozen" not in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
        optimizer.zero_grad()
        optimizer.step()  # reached before: not warned of
    assert used.data[0] == 0.996 and unused.data[0, 0] == 2
    assert optimizer.steps == [2, 0, 0, 0]
    assert used.grad is None


def test_a_frozen_parameter_stays_though_it_has_a_gradient():
    p, other = leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([p, other], lr=0.5, momentum=0.9)
    give(p, [1.0]), give(other, [1.0])
    p.requires_grad = False
    optimizer.step()
    assert p.data == 1 and other.data == 0.5


@each_case
def test_weights_that_return_from_pruning_start_at_zero_with_empty_state(kind, settings):
    rng = np.random.default_rng(5)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(4, 4, 3))
    keep = rng.random((4, 3)) < 0.5
    optimizer, untouched = (getattr(optim, kind)([nn.Parameter(start)], **settings) for _ in range(2))
    p = optimizer.params[0]
    p.prune(keep)
    stepped(optimizer, gradients[:3]), stepped(untouched, gradients[:3])
    p.prune(np.ones_like(keep))
    assert np.array_equal(p.restarted, ~keep) and (p.data[~keep] == 0).all()
    new = getattr(optim, kind)([leaf(p.data)], **settings)
    new.steps = [3]
    stepped(optimizer, gradients[3:]), stepped(untouched, gradients[3:]), stepped(new, gradients[3:])
    assert p.restarted is None
    for name in ("data", *optimizer.slots):
        ours, old, fresh = (
            o.params[0].data if name == "data" else o.state[0][name] for o in (optimizer, untouched, new)
        )
        assert np.array_equal(ours[keep], old[keep]) and np.array_equal(ours[~keep], fresh[~keep])


def test_data_of_a_new_shape_gets_fresh_state():
    p = leaf(np.ones((4, 3)))
    optimizer = optim.Adam([p])
    stepped(optimizer, np.ones((3, 4, 3)))
    p.data = np.ones((2, 3))
    with pytest.raises(ShapeError, match=r"parameter 0.*\(4, 3\).*\(2, 3\).*zero_grad"):
        optimizer.step()
    new = optim.Adam([leaf(np.ones((2, 3)))])
    assert np.array_equal(stepped(optimizer, np.full((1, 2, 3), 0.5)), stepped(new, np.full((1, 2, 3), 0.5)))
    assert optimizer.steps == [1] and np.array_equal(optimizer.state[0]["v"], new.state[0]["v"])


def test_state_follows_its_parameter_to_another_device_and_type(standin):  # noqa: F811
    start, gradients = np.linspace(-1, 1, 6), np.random.default_rng(0).normal(size=(4, 6))
    expected = stepped(optim.Adam([leaf(start)]), gradients)
    moved = optim.Adam([leaf(start)])
    stepped(moved, gradients[:2])
    p = moved.params[0]
    p.data = backend.to_device(p.data, standin)
    for g in gradients[2:]:
        p.grad = backend.to_device(g, standin)
        moved.step()
    assert np.array_equal(backend.to_host(p.data), expected)
    assert transfers.to_device == 5 and transfers.to_host == 1  # data, 2 gradients, m and v; the line above
    again = optim.Adam([leaf(start)])
    again.load_state_dict(moved.state_dict())
    assert again.betas == (0.9, 0.999) and again.steps == [4]
    stepped(again, gradients[:1])
    assert isinstance(again.state[0]["m"], np.ndarray)
    again.params[0].data = again.params[0].data.astype(np.float32)
    assert stepped(again, gradients[:1]).dtype == again.state[0]["m"].dtype == np.float32


# --- saving and loading ---------------------------------------------------------------------------


def frozen(value):
    """A number or array as a file gives it back."""
    array = np.array(value)
    array.setflags(write=False)
    return array


@given(case=st.sampled_from(CASES), seen=st.integers(0, 4), seed=st.integers(0, 99))
def test_a_run_continued_from_its_state_is_bit_equal(case, seen, seed):
    kind, settings = case
    gradients = np.random.default_rng(seed).normal(size=(6, 2, 3)).astype(np.float32)
    straight = getattr(optim, kind)([leaf(np.ones((2, 3), np.float32))], **settings)
    first = getattr(optim, kind)([leaf(np.ones((2, 3), np.float32))], **settings)
    stepped(straight, gradients[:seen]), stepped(first, gradients[:seen])
    straight.lr = first.lr = 0.007
    saved = first.state_dict()
    second = getattr(optim, kind)([leaf(first.params[0].data)])  # at its defaults: all comes from the state
    stepped(first, gradients[seen:])  # what was saved is a copy: this changes nothing in it
    second.load_state_dict({key: frozen(value) for key, value in saved.items()})
    assert np.array_equal(stepped(second, gradients[seen:]), stepped(straight, gradients[seen:]))
    assert repr(second) == repr(straight)


def test_the_state_is_flat_and_of_numbers_and_arrays():
    p = leaf(np.ones(2))
    optimizer = optim.Adam([p, leaf([1.0])])
    with pytest.warns(UserWarning, match="never reached"):
        stepped(optimizer, [np.ones(2)])
    saved = optimizer.state_dict()
    assert list(saved) == ["lr", "betas", "eps", "weight_decay", "0.t", "0.m", "0.v", "1.t"]
    assert all(isinstance(value, (int, float, np.ndarray)) for value in saved.values())
    assert saved["0.t"] == 1 and saved["1.t"] == 0 and np.allclose(saved["0.m"], 0.1)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("0.m"), r"this Adam of 1 tensors. Missing: 0.m; unexpected: nothing"),
        (lambda s: s.pop("0.t"), r"Missing: 0.t; unexpected: nothing"),
        (lambda s: s.pop("eps"), r"Missing: eps; unexpected: nothing"),
        (lambda s: s.update({"1.t": 3}), r"Missing: nothing; unexpected: 1.t"),
        (lambda s: s.update({"0.m": np.ones(3)}), r"0.m of the state is for fc.weight.*\(2,\); got \(3,\)"),
        (lambda s: s.update({"0.m": 1.0}), r"0.m .*needs shape \(2,\); got float"),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(change, message):
    optimizer = optim.Adam([("fc.weight", leaf(np.ones(2)))])
    stepped(optimizer, [np.ones(2)])
    bad = {**optimizer.state_dict(), "lr": 0.5}
    change(bad)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(bad)
    after = optimizer.state_dict()
    assert list(after) == list(before) and all(np.array_equal(after[key], before[key]) for key in before)
