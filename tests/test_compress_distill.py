"""Distillation and transfer: softened probabilities, frozen layers and a new head, each against plain arithmetic."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyopt
from tinyopt import Tensor, compress, data, gradcheck, measure, models, nn, optim, train
from tinyopt.compress import distill
from tinyopt.errors import ShapeError

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
    for temperature in (0, -1.0, math.nan, math.inf, None, "4", True):
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


Z = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])
V = np.array([[3.0, 1.0, -2.0], [0.0, 1.0, 4.0]])


@pytest.mark.parametrize(
    "temperature, alpha, value, gradient",
    [
        (4.0, 0.9, 1.662896428189272,
         [[-0.21297966180836106, 0.02320693174454226, 0.18977273006381845],
          [0.18770635700421423, 0.35948750992528017, -0.5471938669294942]]),
        (1.0, 0.3, 1.2602073826761984,
         [[-0.14871961137205225, 0.10458928734714738, 0.0441303240249048],
          [0.07955363998071585, 0.3610704687696008, -0.44062410875031666]]),
        (2.0, 1.0, 1.531432430414692,
         [[-0.18319169506884947, 0.053479704083473203, 0.1297119909853763],
          [0.15706298747641162, 0.37915398407465506, -0.5362169715510667]]),
    ],
)  # fmt: skip
def test_the_loss_is_pytorchs(temperature, alpha, value, gradient):
    # alpha * KLDivLoss("batchmean")(log_softmax(z / T), softmax(v / T)) * T**2 + (1 - alpha) * cross_entropy(z, labels)
    z, labels = Tensor(Z, requires_grad=True), None if alpha == 1 else np.array([0, 2])  # alpha = 1 reads no label
    loss = distill.distillation_loss(z, V, labels, temperature=temperature, alpha=alpha)
    loss.backward()
    assert loss.item() == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(z.grad, gradient, atol=1e-14)


DIGITS = data.digits()
FEW = (DIGITS.train.take(slice(0, 128)), None)


def flat(seed, n_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes, rng=seed))


def test_what_cannot_teach_is_refused():
    for settings in ({"temperature": 0}, {"temperature": math.nan}, {"temperature": math.inf}):
        with pytest.raises(ValueError, match="temperature is above 0 and finite"):
            distill.taught_by(flat(0), **settings)  # at once, and not at the first batch
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="alpha is the teacher's share"):
            distill.taught_by(flat(0), alpha=alpha)
    images, labels = (Tensor(array) for array in FEW[0].take(slice(0, 1)))
    with pytest.raises(ShapeError, match=r"the same classes; got \(1, 7\) and \(1, 10\)"):
        distill.taught_by(flat(0, 7))(flat(1), images, labels)
    with pytest.raises(ValueError, match="these are probabilities. Use teachers.taught_from"):
        distill.taught_by(lambda x: np.full((len(x), 10), 0.1))(flat(1), images, labels)
    with pytest.raises(ShapeError, match="N of 1 or more; got"):
        distill.distillation_loss(Tensor(Z[:0]), V[:0], None, alpha=1)
    loss, _ = distill.taught_by(lambda x: np.eye(10)[:1] * 9)(flat(1), images, labels)  # float64, as others give
    assert loss.dtype == np.float32 and math.isfinite(loss.item())


# --- as the loss after compression ------------------------------------------------------------------------


def pruned(model):
    compress.prune(model, 0.9, scope="layer")
    return []


def two_bits(model):
    return [compress.prepare_qat(model, FEW[0], weight_bits=2, activation_bits=8)]


@pytest.mark.parametrize("change", [pruned, two_bits])
def test_a_compressed_model_is_taught_by_its_former_self_and_stays_compressed(change, tmp_path):
    teacher = models.lenet_300_100(image_size=8, rng=0)
    train.fit(teacher, FEW, epochs=10, progress=False, optimizer=optim.Adam(teacher.parameters(), lr=5e-3))
    model = copy.deepcopy(teacher)
    callbacks = change(model)
    zeros = model.get("fc1").weight.read().data == 0

    def distance(net):  # without any label
        with measure.inference(net), measure.inference(teacher):
            images = Tensor(DIGITS.val.images)
            return distill.distillation_loss(net(images), teacher(images), None, temperature=2.0, alpha=1).item()

    before, answer = distance(model), teacher(Tensor(FEW[0].images)).data
    settings = {"objective": distill.taught_by(teacher, temperature=2.0, alpha=1), "callbacks": callbacks}
    settings["optimizer"] = optim.Adam(model.parameters(), lr=4e-3)
    train.fit(model, FEW, epochs=10, batch_size=32, progress=False, **settings)
    assert np.array_equal(teacher(Tensor(FEW[0].images)).data, answer)
    tinyopt.save(model, tmp_path / "model")
    loaded = tinyopt.load(tmp_path / "model")
    assert distance(loaded) == pytest.approx(distance(model), rel=1e-5) and distance(loaded) < before / 2
    weight = loaded.get("fc1").weight.read().data
    if change is pruned:
        assert zeros.mean() > 0.85 and np.array_equal(weight == 0, zeros)
    else:
        assert max(len(np.unique(row)) for row in weight) <= 4
    assert (tmp_path / "model").stat().st_size < teacher.get("fc1").weight.data.nbytes


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


@pytest.mark.parametrize("name", models.MODELS)
def test_transfer_trains_a_head_on_every_model_and_nothing_else_moves(name, tmp_path):
    model = models.make(name, image_size=8, rng=0)
    train.fit(model, (DIGITS.train.take(slice(0, 16)), None), epochs=1, batch_size=8, progress=False)  # moves averages
    odd = data.Part(FEW[0].images[:32], FEW[0].labels[:32] % 2)
    new = distill.transfer(model, 2, rng=1)
    before, head = new.state_dict(), learning(new)
    rows = train.fit(new, (odd, None), epochs=3, progress=False, optimizer=optim.Adam(new.parameters(), lr=0.03))
    after = new.state_dict()
    assert {key for key in after if not np.array_equal(after[key], before[key])} == head and len(head) == 2
    assert any("running_mean" in key for key in after) == (name in ("resnet8", "mobilenet_tiny"))
    trunk = model[:-1].eval()(Tensor(odd.images)).data
    assert np.array_equal(new[:-1](Tensor(odd.images)).data, trunk)
    assert np.array_equal(new[:-1].train()(Tensor(odd.images)).data, trunk)  # in training it gives what it will give
    assert rows[-1]["loss"] < rows[0]["loss"]
    tinyopt.save(new, tmp_path / "model")
    loaded = tinyopt.load(tmp_path / "model")
    assert np.array_equal(loaded(Tensor(odd.images)).data, new.eval()(Tensor(odd.images)).data)


def test_a_norm_is_frozen_with_its_parameters_and_follows_the_data_again_after():
    model = nn.Sequential(fc=nn.Linear(4, 3, rng=0), norm=nn.BatchNorm1d(3), head=nn.Linear(3, 2, rng=1))
    x = Tensor(np.random.default_rng(0).normal(size=(6, 4)).astype("f4"))
    for but, follows in [(("head",), False), (("norm.bias",), True), ((), False), (("norm",), True)]:
        distill.freeze(model, but=but)
        before = model.get("norm").running_mean
        model.train()(x)
        assert np.array_equal(model.get("norm").running_mean, before) != follows, but
