"""Learned steps: the gradient against the paper's equations, element by element, and the way in and out of a model."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from test_compress_qat import with_moved_norms

import tinyopt
from tinyopt import Tensor, compress, data, models, nn, ops, optim, train
from tinyopt.compress.lsq import finish, first_step, prepare_lsq
from tinyopt.compress.qat import prepare_qat, ranges

DIGITS = data.digits()
IMAGES = DIGITS.train.images[:32]
PART = (DIGITS.train.images[:64], DIGITS.train.labels[:64])
numbers = hnp.arrays(np.float64, (3, 4), elements=st.integers(-40, 40).map(lambda i: i / 8))


def slow_gradients(v, s, g, n, p, count):
    """Esser et al., Equations 3 and 5, and the scale of Section 2.2; -n and p are their −Q_N and Q_P."""
    grad_v, grad_s = np.zeros_like(v), np.zeros_like(s)
    for i, j in np.ndindex(*v.shape):
        step = s[i, 0]
        if v[i, j] / step <= -n:
            grad_s[i, 0] += g[i, j] * -n
        elif v[i, j] / step >= p:
            grad_s[i, 0] += g[i, j] * p
        else:
            grad_v[i, j] = g[i, j]
            grad_s[i, 0] += g[i, j] * (-v[i, j] / step + round(v[i, j] / step))
    return grad_v, grad_s / math.sqrt(count * p)


@settings(max_examples=30)
@given(numbers, numbers, st.sampled_from([(0, 3), (2, 1), (4, 3), (0, 255)]), st.integers(1, 9))
def test_gradients_are_those_of_the_paper_element_by_element(v, g, ends, count):
    n, p = ends
    v, s = Tensor(v, requires_grad=True), Tensor(np.array([[0.25], [0.5], [1.5]]), requires_grad=True)
    ops.lsq(v, s, low=-n, high=p, count=count).backward(g)
    grad_v, grad_s = slow_gradients(v.data, s.data, g, n, p, count)
    assert np.array_equal(v.grad, grad_v)
    assert np.allclose(s.grad, grad_s, rtol=1e-12, atol=1e-12)


def test_numbers_at_and_beyond_the_ends_pull_the_step_and_pass_no_gradient():
    v, s = Tensor([-5.0, -2.0, 0.5, 1.0, 3.0], requires_grad=True), Tensor(1.0, requires_grad=True)
    y = ops.lsq(v, s, low=-2, high=1, count=4)
    assert np.array_equal(y.data, [-2, -2, 0, 1, 1])
    y.sum().backward()
    assert np.array_equal(v.grad, [0, 0, 1, 0, 0])
    assert s.grad == pytest.approx((-2 - 2 + (0 - 0.5) + 1 + 1) / 2)  # √(4 · 1) = 2


def test_the_first_step_of_an_array():
    x = np.float32([[1, -3], [0, 0], [5, 3]])
    assert first_step(x, 4) == 2 * 2 / 2 and first_step(x, 4).dtype == np.float32
    assert np.array_equal(first_step(x, 4, axis=0)[[0, 2]], [2, 4])
    assert 0 < first_step(x, 4, axis=0)[1] < 1e-30  # of zeros: nothing to divide by 0


def test_descent_on_the_step_finds_about_the_best_one():
    """Least squares of v and its rounding. The gradient takes rounding for a constant, so it is the true one between
    jumps, and where it is 0 the loss is stationary: compare with all steps on a fine grid."""
    v = np.random.default_rng(0).normal(size=400).astype("f4")
    layer = nn.LearnedStep(3, signed=True)
    layer.step.data = first_step(v, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        ((layer(Tensor(v[None])) - v[None]) ** 2).sum().backward()
        optimizer.step()

    def error(step):
        return ((np.clip(np.rint(v / step), -4, 3) * step - v) ** 2).mean()

    grid = [error(step) for step in np.linspace(0.2, 1.2, 501)]
    assert error(float(layer.step.data)) < 1.02 * min(grid) < 0.9 * error(float(first_step(v, 3)))


# --- in a model --------------------------------------------------------------------------------------


def trained(model, epochs=1, lr=0.02, **choices):
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    train.fit(model, (PART, PART), epochs=epochs, batch_size=16, optimizer=optimizer, progress=False, **choices)
    return model


def network(name="lenet5", bits=3, **choices):
    sizes = {"filters": (3, 4), "units": 8} if name == "lenet5" else {"width": 0.25 if "mobile" in name else 2}
    model = with_moved_norms(models.make(name, image_size=8, rng=0, **sizes))
    return model, prepare_lsq(model, PART, weight_bits=bits, activation_bits=bits, **choices)


@pytest.mark.parametrize("name, per_channel", [
    ("lenet5", False), ("lenet5", True), ("mobilenet_tiny", False), ("resnet8", True),
])  # fmt: skip
def test_steps_are_parameters_that_train_and_finish_changes_no_number(name, per_channel, tmp_path):
    model, steps = network(name, per_channel=per_channel)
    assert set(steps) <= {name for name, _ in model.named_parameters()}
    assert {tuple(model.get(step).shape) == () for step in steps if "quant" not in step} == {not per_channel}
    before = {step: model.get(step).data for step in steps}
    trained(model)
    assert all((model.get(step).data != before[step]).any() for step in steps)
    wanted = model(IMAGES).data
    finish(model)
    assert np.array_equal(model(IMAGES).data, wanted)
    assert {type(layer).__name__ for layer in model.modules()}.isdisjoint(
        {"LearnedStep", "LearnedStepLinear", "LearnedStepConv2d"})  # fmt: skip
    path = tmp_path / "net.tiny"
    tinyopt.save(model, path)
    loaded = tinyopt.load(path)
    assert np.array_equal(loaded(IMAGES).data, wanted) and len(ranges(loaded)) == len(ranges(model)) > 2
    sizes = {name: n for name, kind, part, n in tinyopt.files.ledger(path) if part == "integers"}
    weights = {name: p.size for name, p in loaded.named_parameters() if name.endswith(".weight")}
    assert sizes == {name: -(-n * 3 // 8) for name, n in weights.items()}


def test_in_the_midst_of_training_it_is_saved_copied_and_resumed_with_its_steps(tmp_path):
    model, _ = network()
    trained(model)
    tinyopt.save(model, tmp_path / "net.tiny")
    assert np.array_equal(tinyopt.load(tmp_path / "net.tiny")(IMAGES).data, model(IMAGES).data)
    before = model(IMAGES).data
    trained(copy.deepcopy(model))
    assert np.array_equal(model(IMAGES).data, before)
    once, again = trained(network()[0], epochs=3, patience=3), network()[0]
    trained(again, epochs=1, patience=3, checkpoint=tmp_path / "run")
    resumed = trained(network()[0], epochs=3, patience=3, checkpoint=tmp_path / "run")
    assert all(np.array_equal(a, b) for a, b in zip(once.state_dict().values(), resumed.state_dict().values()))


def test_signed_activations_get_signed_steps_and_others_start_from_zero():
    model, _ = network()
    assert [model.get(f"{name}_quant").signed for name in ("pool1", "pool2", "relu1")] == [True, True, False]
    finish(model)
    assert model.get("relu1_quant").low == 0 and model.get("pool1_quant").low < 0


def test_a_mask_stays_through_training_and_finish():
    model = models.lenet5(image_size=8, filters=(3, 4), units=8, rng=0)
    compress.prune(model, 0.7)
    gone = model.get("fc1.weight").read().data == 0
    prepare_lsq(model, PART, weight_bits=4, activation_bits=None)
    wanted = trained(model)(IMAGES).data
    finish(model)
    assert np.array_equal(model(IMAGES).data, wanted)
    assert ((model.get("fc1.weight").read().data == 0) >= gone).all()


# --- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 1, 17])
def test_other_bits_are_refused_and_the_model_stays_as_it_was(bits):
    for choices in ({"weight_bits": bits}, {"activation_bits": bits}):
        model = models.lenet5(image_size=8, rng=0)
        with pytest.raises(ValueError, match=f"learned step needs bits in 2..16; got {bits}"):
            prepare_lsq(model, PART, **choices)
        assert [type(layer) for layer in model] == [type(layer) for layer in models.lenet5(image_size=8, rng=0)]


def test_models_that_cannot_have_steps_are_refused():
    model = models.lenet5(image_size=8, rng=0)
    with pytest.raises(ValueError, match="nothing to round"):
        prepare_lsq(model, PART, weight_bits=None, activation_bits=None)
    with pytest.raises(KeyError, match="conv9"):
        prepare_lsq(model, PART, skip="conv9")
    prepare_qat(model, PART, activation_bits=None)
    with pytest.raises(ValueError, match=r"conv1.weight is stored in fewer bits already \(Quantize\)"):
        prepare_lsq(model, PART)
    thin = nn.Sequential(nn.Flatten(), nn.LowRankLinear(64, 10, 2, rng=0))
    with pytest.raises(ValueError, match="for Linear and Conv2d; 1.down is of a LowRankLinear"):
        prepare_lsq(thin, PART)


def test_a_step_that_training_drove_through_zero_is_told_of():
    model, steps = network()
    model.get(steps[0]).data = np.float32(-0.1)
    with pytest.raises(ValueError, match="a step is above 0; training drove conv1.step through it.*smaller learning"):
        finish(model)
