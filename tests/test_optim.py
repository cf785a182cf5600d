"""Optimizers against PyTorch's numbers, and what they refuse."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optim_cases import ABOUT, CASES, REFERENCE, give, leaf, stepped

from tinyopt import Tensor, optim

# --- numbers: PyTorch's ---------------------------------------------------------------------------


def run_reference(kind, settings, dtype):
    """What `make_optim_reference.py` did, here: parameters after the stored steps, and at their largest."""
    gradients = [REFERENCE[f"gradient.{i}"] for i in range(4)]
    params = [leaf(REFERENCE[f"start.{i}"].astype(dtype)) for i in range(4)]
    optimizer = getattr(optim, kind)(params, **settings)
    kept, largest = [], 0
    for t in range(1, len(gradients[0]) + 1):
        optimizer.zero_grad()
        for i, p in enumerate(params):
            if [t, i] not in ABOUT["without_gradient"]:
                give(p, gradients[i][t - 1])
        optimizer.step()
        if t == ABOUT["halved_after"]:
            optimizer.lr /= 2
        now = np.concatenate([p.data.ravel() for p in params])
        largest = np.maximum(largest, abs(now))
        if t in ABOUT["stored"]:
            kept.append(now)
    return np.stack(kept), largest


@pytest.mark.parametrize("number", range(len(ABOUT["cases"])), ids=lambda n: f"{n}-{ABOUT['cases'][n][0]}")
def test_every_optimizer_gives_pytorchs_numbers(number):
    kind, settings = ABOUT["cases"][number]
    ours, _ = run_reference(kind, settings, "float64")
    theirs = REFERENCE["float64"][number]
    assert ours.dtype == np.float64
    assert (abs(ours - theirs) / abs(theirs)).max() <= 1e-12
    ours, largest = run_reference(kind, settings, "float32")
    assert ours.dtype == np.float32
    ulps = abs(ours - REFERENCE["float32"][number]) / np.spacing(largest)  # of the path: it may end near 0
    assert ulps.max() <= 8


def test_the_reference_exercises_every_argument_and_arguments_are_pytorchs():
    assert {kind for kind, _ in CASES} == set(optim.__all__) - {"Optimizer"}
    for kind, theirs in ABOUT["defaults"].items():
        arguments = list(inspect.signature(getattr(optim, kind)).parameters.values())[1:]
        theirs = {name: tuple(value) if name == "betas" else value for name, value in theirs.items()}
        assert [(a.name, a.default) for a in arguments] == list(theirs.items())
        used = {name for other, settings in CASES if other == kind for name in settings}
        assert used == set(theirs)


def test_gd_moves_by_lr_times_the_gradient():
    start, g = np.array([1.0, -2.0, 3.0]), np.array([0.5, 0.25, -4.0])
    assert np.array_equal(stepped(optim.GD([leaf(start)], lr=0.5), [g]), [0.75, -2.125, 5.0])


CONVERGING = {
    "GD": {"lr": 0.09}, "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True}, "Adagrad": {"lr": 0.5},
    "RMSprop": {"lr": 0.003}, "Adadelta": {"eps": 1e-3}, "Adam": {"lr": 0.05},
    "AdamW": {"lr": 0.05, "weight_decay": 1e-4},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONVERGING)
def test_a_convex_quadratic_is_solved(kind):
    curvature, best = np.array([0.3, 1.0, 4.0, 10.0]), np.array([1.0, -1.0, 0.5, 0.25])
    p = leaf(np.zeros(4))
    optimizer = getattr(optim, kind)([p], **CONVERGING[kind])
    for _ in range(500):
        optimizer.zero_grad()
        ((p - best) ** 2 * curvature).sum().backward()
        optimizer.step()
    assert abs(p.data - best).max() < 0.02


@pytest.mark.parametrize("lr, shrinks", [(0.099, True), (0.101, False)])
def test_gd_converges_below_two_over_the_curvature_and_not_above(lr, shrinks):
    p = leaf([1.0])
    optimizer = optim.GD([p], lr=lr)
    for _ in range(50):
        stepped(optimizer, [20 * p.data])  # the gradient of 10 p²
    assert (abs(p.data[0]) < 1) == shrinks


@pytest.mark.parametrize("kind", ["Adagrad", "RMSprop", "Adam", "AdamW"])
@given(power=st.integers(-20, 20), seed=st.integers(0, 99))
def test_adaptive_steps_do_not_depend_on_the_unit_of_the_loss(kind, power, seed):
    start, gradients = np.ones(5), np.random.default_rng(seed).normal(size=(4, 5))
    one, other = (getattr(optim, kind)([leaf(start)], eps=0) for _ in range(2))
    rescaled = gradients * 2.0**power  # which rounds nothing
    assert np.array_equal(stepped(one, gradients), stepped(other, rescaled))


# --- what is refused ------------------------------------------------------------------------------

ONE = leaf([1.0])


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: optim.SGD([]), ValueError, "needs parameters; the list is empty"),
        (lambda: optim.SGD(ONE), TypeError, "a list of tensors.*got one Tensor"),
        (lambda: optim.SGD(3), TypeError, "a list of tensors.*got one int"),
        (lambda: optim.SGD([ONE, np.ones(2)]), TypeError, "entry 1 is of type ndarray"),
        (lambda: optim.SGD([("w", ONE), ("b", 1.0)]), TypeError, "entry 1 is of type float"),
        (lambda: optim.SGD([leaf([1.0]), ONE, ONE]), ValueError, "entries 1 and 2 are one tensor"),
        (lambda: optim.SGD([ONE * 2.0]), ValueError, "only leaves.*entry 0 came out of op 'mul'"),
        (lambda: optim.SGD([Tensor([1.0])]), ValueError, "no tensor here wants a gradient"),
        (lambda: optim.SGD([ONE], lr=0), ValueError, "lr of SGD must be above 0; got 0"),
        (lambda: optim.Adam([ONE], lr=float("nan")), ValueError, "lr of Adam must be above 0; got nan"),
        (lambda: optim.GD([ONE], lr="0.1"), ValueError, "lr of GD must be above 0; got '0.1'"),
        (lambda: optim.SGD([ONE], momentum=-1), ValueError, "momentum of SGD must be 0 or above"),
        (lambda: optim.SGD([ONE], nesterov=True), ValueError, "nesterov needs momentum > 0"),
        (lambda: optim.SGD([ONE], 0.1, 0.9, 0.2, nesterov=True), ValueError, "dampening = 0; got 0.9"),
        (lambda: optim.Adagrad([ONE], initial_accumulator_value=-1), ValueError, "initial_acc.* of Adagrad"),
        (lambda: optim.RMSprop([ONE], alpha=1.0), ValueError, r"alpha of RMSprop must be in \[0, 1\); got"),
        (lambda: optim.Adadelta([ONE], rho=-0.1), ValueError, r"rho of Adadelta must be in \[0, 1\)"),
        (lambda: optim.Adam([ONE], betas=0.9), ValueError, "betas are two numbers.*got 0.9"),
        (lambda: optim.Adam([ONE], betas=(0.9, 1.0)), ValueError, r"betas of Adam must be in \[0, 1\); got"),
        (lambda: optim.AdamW([ONE], weight_decay=-1), ValueError, "weight_decay of AdamW must be 0 or above"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()
