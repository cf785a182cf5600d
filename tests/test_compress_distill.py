"""Distillation and transfer: softened probabilities, frozen layers and a new head, each against plain arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import Tensor, gradcheck, models, nn, optim
from tinyopt.compress import distill

logits = hnp.arrays(np.float64, (3, 4), elements=st.floats(-50, 50))


@given(z=logits, temperature=st.floats(0.1, 100))
def test_softened_rows_are_the_softmax_of_logits_divided_by_the_temperature(z, temperature):
    p = distill.soften(z, temperature)
    for row, probabilities in zip(z, p):
        powers = [math.exp((x - max(row)) / temperature) for x in row]
        assert np.allclose(probabilities, [power / sum(powers) for power in powers], rtol=1e-10)
    predicted = np.take_along_axis(p, z.argmax(axis=1)[:, np.newaxis], axis=1)
    assert (predicted[:, 0] == p.max(axis=1)).all()  # no temperature changes a prediction


def test_softening_has_its_two_limits_and_does_not_overflow():
    z = np.array([1e6, 1e6 - 10, -1e6])
    assert np.allclose(distill.soften(z, 0.01), [1, 0, 0])
    assert np.allclose(distill.soften(z, 1e12), 1 / 3, atol=1e-5)
    assert np.allclose(distill.soften(z, 10), [1 / (1 + math.exp(-1)), 1 / (1 + math.e), 0])
    for temperature in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature is above 0"):
            distill.soften(z, temperature)


def test_softening_keeps_the_type_of_the_logits():
    z = np.zeros((2, 3), dtype=np.float32)
    assert distill.soften(z, np.float64(4)).dtype == np.float32


@given(data=hnp.arrays(np.float64, (2, 3, 4), elements=st.floats(-5, 5)), temperature=st.floats(0.5, 50))
def test_the_gradient_of_the_soft_term_is_T_times_q_minus_p(data, temperature):
    z = Tensor(data[0], requires_grad=True)
    distill.distillation_loss(z, data[1], np.array([0, 3, 1]), temperature=temperature, alpha=1).backward()
    q, p = (np.exp(a / temperature) / np.exp(a / temperature).sum(axis=1, keepdims=True) for a in data)
    assert np.allclose(z.grad, temperature * (q - p) / 3)


def test_a_very_sure_teacher_makes_no_nan():
    z, v = np.zeros((1, 3)), np.array([[5000.0, 0.0, -5000.0]])
    loss = distill.distillation_loss(Tensor(z), v, np.array([0]), temperature=2.0, alpha=1)
    assert np.isclose(loss.item(), 4 * math.log(3))
    gradcheck(lambda s: distill.distillation_loss(s, v, np.array([0]), temperature=2.0, alpha=0.5), z)


def test_at_high_temperature_a_student_learns_logits_by_squared_error():
    z, v = np.random.default_rng(0).normal(size=(2, 5, 10))
    student = Tensor(z, requires_grad=True)
    distill.distillation_loss(student, v, np.zeros(5, dtype=int), temperature=1e4, alpha=1).backward()
    gap = (z - z.mean(axis=1, keepdims=True)) - (v - v.mean(axis=1, keepdims=True))
    assert np.allclose(student.grad, gap / 10 / 5, atol=1e-5)


# --- freeze and transfer --------------------------------------------------------------------------------


def network():
    inner = nn.Sequential(fc1=nn.Linear(4, 3, rng=0), relu=nn.ReLU(), fc10=nn.Linear(3, 3, rng=1))
    return nn.Sequential(body=inner, fc1=nn.Linear(3, 2, rng=2), head=nn.Linear(2, 2, rng=3))


def learning(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_freeze_takes_whole_names_and_a_second_call_unfreezes():
    model = network()
    assert distill.freeze(model, but=("fc1",)) == 8 and learning(model) == {"fc1.weight", "fc1.bias"}
    assert distill.freeze(model, but="body.fc1") == 15 and learning(model) == {"body.fc1.weight", "body.fc1.bias"}
    assert distill.freeze(model, but=["head.bias"]) == 2 and learning(model) == {"head.bias"}
    assert distill.freeze(model) == 0 and learning(model) == set()
    with pytest.raises(KeyError, match="no layer or parameter is called 'fc2'; there are: .*head"):
        distill.freeze(model, but=("head", "fc2"))


def test_an_optimizer_moves_only_what_is_not_frozen():
    model = network()
    (model(Tensor(np.ones((2, 4), dtype=np.float32))) ** 2).sum().backward()  # gradients of before do no harm
    before = {name: parameter.data for name, parameter in model.named_parameters()}
    distill.freeze(model, but=("head",))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    (model(Tensor(np.ones((2, 4), dtype=np.float32))) ** 2).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if (parameter.data != before[name]).any()}
    assert moved == {"head.weight", "head.bias"}


def test_transfer_keeps_the_trunk_and_makes_a_new_head():
    model = models.lenet5(image_size=8, filters=(2, 3), units=5, rng=0)
    images = Tensor(np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32))
    old = model(images).data
    new = distill.transfer(model, 3, rng=1)
    assert new(images).shape == (4, 3) and learning(new) == {"fc2.weight", "fc2.bias"}
    assert np.array_equal(new[:-1](images).data, model[:-1](images).data)
    assert np.array_equal(model(images).data, old) and all(p.requires_grad for p in model.parameters())
    assert np.array_equal(distill.transfer(model, 3, rng=1)(images).data, new(images).data)


def test_transfer_refuses_a_model_without_a_linear_head():
    with pytest.raises(ValueError, match="last layer that is Linear; 0 is a Conv2d"):
        distill.transfer(nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU()), 5)
    with pytest.raises(ValueError, match="no layer with weights"):
        distill.transfer(nn.Sequential(nn.ReLU()), 5)
