"""Logits, hints and attention against numbers by hand, closed forms and PyTorch's numbers."""

import warnings

import numpy as np
import pytest

from tinyopt import Tensor, data, gradcheck, models, nn, optim, train
from tinyopt.compress import distill, hints
from tinyopt.errors import ShapeError

DIGITS = data.digits()
IMAGES, LABELS = DIGITS.train.images[:128], DIGITS.train.labels[:128]


def lenet(filters, units, seed):
    return models.lenet5(image_size=8, filters=filters, units=units, rng=seed)


# --- functions of tensors -------------------------------------------------------------------------------


def test_squared_distance_by_hand():
    s = Tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True)
    loss = hints.squared_distance(s, np.float32([[1, 0], [3, -1]]))
    loss.backward()
    assert loss.item() == (4 + 9) / 4  # over 2N
    assert s.grad.tolist() == [[0, 1], [-1.5, 0]]


def test_squared_distance_is_what_distillation_tends_to_for_centred_logits():
    z, v = np.random.default_rng(0).normal(size=(2, 5, 10))
    z, v = (a - a.mean(axis=1, keepdims=True) for a in (z, v))
    warm, straight = Tensor(z, requires_grad=True), Tensor(z, requires_grad=True)
    distill.distillation_loss(warm, v, np.zeros(5, dtype=int), temperature=1e4, alpha=1).backward()
    hints.squared_distance(straight, v).backward()
    np.testing.assert_allclose(warm.grad * 10, straight.grad, atol=1e-4)


FEATURES = np.array([[[[1.0, 2.0], [0.0, -1.0]], [[0.0, 1.0], [3.0, 1.0]]], np.zeros((2, 2, 2))])  # a silent image, too
OTHERS = np.array([[[[2.0, 0.0], [1.0, 1.0]]], [[[1.0, 0.0], [0.0, 2.0]]]])


def test_attention_has_the_value_and_gradient_of_the_authors_code_in_pytorch():
    # at(x) = F.normalize(x.pow(2).mean(1).view(x.size(0), -1)); (at(s) - at(t)).pow(2).mean(), torch 2.13, float64
    s = Tensor(FEATURES, requires_grad=True)
    loss = hints.attention_loss(s, OTHERS)
    loss.backward()
    assert loss.item() == pytest.approx(0.291105493098247, rel=1e-12)
    expected = [
        [[-0.04323212427729978, 0.015116127369685234], [0.0, 0.008162708779630028]],
        [[0.0, 0.007558063684842617], [0.007255741137448906, -0.008162708779630028]],
    ]
    np.testing.assert_allclose(s.grad, [expected, np.zeros((2, 2, 2))], atol=1e-14)


def test_an_attention_map_by_hand():
    # energies 1, 5, 9, 2: their length is √111
    seen = hints.attention_map(Tensor(FEATURES)).data
    np.testing.assert_allclose(seen, [np.array([1, 5, 9, 2]) / 111**0.5, [0, 0, 0, 0]])
    np.testing.assert_allclose(hints.attention_map(Tensor(FEATURES), power=1).data[0], np.array([1, 3, 3, 2]) / 23**0.5)
    scaled = hints.attention_map(Tensor(FEATURES * 1000)).data
    np.testing.assert_allclose(scaled, seen)  # a louder layer looks no elsewhere


def test_gradients_agree_with_central_differences_and_stop_at_the_teacher():
    rng = np.random.default_rng(1)
    s, t = rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(2, 5, 2, 2))
    gradcheck(lambda x: hints.attention_loss(x, t, power=3), s)
    gradcheck(lambda x: hints.squared_distance(x, s + 1), s)
    for loss, teacher in [(hints.attention_loss, t), (hints.squared_distance, s + 1)]:
        theirs = Tensor(teacher, requires_grad=True)
        loss(Tensor(s, requires_grad=True), theirs * 1).backward()
        assert theirs.grad is None


def test_what_cannot_be_compared_is_refused():
    x = Tensor(np.ones((2, 3), dtype="f4"))
    with pytest.raises(ShapeError, match=r"\(2, 3\) and \(2, 4\)\. Logits need the same classes"):
        hints.squared_distance(x, np.ones((2, 4), dtype="f4"))
    with pytest.raises(ShapeError, match=r"attention needs maps \(N, C, H, W\); got \(2, 3\)"):
        hints.attention_map(x)
    with pytest.raises(ShapeError, match="the same N, H and W"):
        hints.attention_loss(Tensor(FEATURES), OTHERS[:, :, :1])
    with pytest.raises(ValueError, match="beta weighs .* got inf"):
        hints.attends(None, {"a": "b"}, beta=float("inf"))
    for power in (0, 0.5, float("nan")):
        with pytest.raises(ValueError, match="power is an exponent of 1 or more"):
            hints.attention_map(Tensor(FEATURES), power=power)
    with pytest.raises(ValueError, match="beta weighs .* got -1"):
        hints.attends(None, {"a": "b"}, beta=-1)
    with pytest.raises(ValueError, match="got none"):
        hints.attends(None, {})


# --- objectives -----------------------------------------------------------------------------------------


def test_a_linear_student_mimics_as_least_squares_descends_and_reads_no_label():
    teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, rng=seed)) for seed in (0, 1))
    x = IMAGES.reshape(128, 64)
    weight, bias = (parameter.data for parameter in student.parameters())
    answer = teacher(Tensor(IMAGES)).data
    for _ in range(20):  # w ← w − lr · (X w − t)ᵀ X / N
        gap = x @ weight.T + bias - answer
        weight, bias = weight - 0.08 * gap.T @ x / 128, bias - 0.08 * gap.mean(axis=0)
    rows = train.fit(
        student, ((IMAGES, np.zeros(128, dtype="i8")), None), epochs=20, batch_size=128, progress=False,
        optimizer=optim.SGD(student.parameters(), lr=0.08), objective=hints.mimics(teacher),
    )  # fmt: skip
    np.testing.assert_allclose(student[1].weight.data, weight, atol=1e-5)
    np.testing.assert_allclose(student[1].bias.data, bias, atol=1e-5)
    assert rows[-1]["loss"] < rows[0]["loss"] / 4


def test_attends_adds_what_the_captured_layers_say():
    student, teacher = lenet((2, 3), 5, 0), lenet((4, 6), 8, 1)
    x, y = Tensor(IMAGES[:8]), Tensor(LABELS[:8])
    loss, logits = hints.attends(teacher, {"pool1": "pool1", "conv2": "conv2"}, beta=7.0)(student, x, y)
    plain, same = train.classify(student, x, y)
    ends = {"pool1": 2, "conv2": 3}
    extra = sum(hints.attention_loss(student[:k](x), teacher[:k](x)).item() for k in ends.values())
    assert loss.item() == pytest.approx(plain.item() + 7 * extra, rel=1e-5) and extra > 0
    assert np.array_equal(logits.data, same.data)
    taught = distill.taught_by(teacher)
    alone, _ = hints.attends(teacher, {"pool1": "pool1"}, beta=0, objective=taught)(student, x, y)
    assert alone.item() == pytest.approx(taught(student, x, y)[0].item(), rel=1e-6)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    with pytest.raises(KeyError, match="no layer 'pool9' has run"):
        hints.attends(teacher, {"pool9": "pool1"})(student, x, y)


def test_attention_alone_draws_two_networks_together():
    student, teacher = lenet((2, 3), 5, 0), lenet((4, 6), 8, 1)
    attend = hints.attends(teacher, {"pool1": "pool1"}, beta=1e3)
    before = hints.attention_loss(student[:2](Tensor(IMAGES)), teacher[:2](Tensor(IMAGES))).item()
    settings = {"epochs": 6, "objective": attend, "optimizer": optim.Adam(student.parameters(), lr=0.01)}
    train.fit(student, ((IMAGES, LABELS), None), progress=False, **settings)
    after = hints.attention_loss(student[:2](Tensor(IMAGES)), teacher[:2](Tensor(IMAGES))).item()
    assert after < before / 2


def test_an_objective_leaves_the_teachers_mode_and_averages_as_they_were():
    teacher = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 10, rng=1))
    student = lenet((2, 3), 5, 0)
    before = teacher[1].running_mean.copy()
    teacher.train()
    hints.mimics(teacher)(student, Tensor(IMAGES), None)
    assert teacher.training and np.array_equal(teacher[1].running_mean, before)


# --- hints ----------------------------------------------------------------------------------------------


def test_a_regressor_has_the_kernel_that_leaves_the_hints_pixels():
    x = Tensor(np.ones((2, 3, 8, 7), dtype="f4"))
    layer = hints.regressor(x.shape, (2, 5, 6, 7), rng=0)
    assert layer.weight.shape == (5, 3, 3, 1) and layer(x).shape == (2, 5, 6, 7)
    assert hints.regressor((2, 3), (2, 5), rng=0).weight.shape == (5, 3)
    for guided, hint in [((2, 3), (2, 5, 6, 7)), ((2, 3, 5, 7), (2, 5, 6, 7)), ((2, 3, 6, 6), (2, 5, 6, 7))]:
        with pytest.raises(ShapeError, match="Choose another pair of layers"):
            hints.regressor(guided, hint)


def test_the_first_stage_trains_up_to_the_guided_layer_and_leaves_nothing_frozen():
    student, teacher = lenet((3, 4), 6, 0), lenet((4, 6), 8, 1)
    distill.freeze(student, but=("conv1.weight", "conv2", "fc1", "fc2"))
    wanted = {name: parameter.requires_grad for name, parameter in student.named_parameters()}
    before = {name: parameter.data for name, parameter in student.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of parameters that the loss never reached
        rows = hints.fit_hints(
            student, teacher, ((IMAGES, LABELS), None), hint="conv2", guided="conv2", rng=2, epochs=3, progress=False
        )
    moved = {name for name, parameter in student.named_parameters() if (parameter.data != before[name]).any()}
    assert moved == {"conv1.weight", "conv2.weight", "conv2.bias"} and rows[-1]["loss"] < rows[0]["loss"]
    assert {name: parameter.requires_grad for name, parameter in student.named_parameters()} == wanted
    assert all(parameter.grad is None for parameter in student.parameters())
    with pytest.raises(KeyError, match="no layer 'conv3' has run"):
        hints.fit_hints(student, teacher, DIGITS, hint="conv3", guided="conv2")


def test_the_first_stage_leaves_the_norms_behind_it_alone_and_makes_its_own_optimizer():
    def network(seed):
        return nn.Sequential(
            nn.Conv2d(1, 2, 3, rng=seed), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, rng=seed), nn.BatchNorm2d(2),
            nn.Flatten(), nn.Linear(32, 10, rng=seed),
        )  # fmt: skip

    student, teacher, rates = network(0), network(1), []

    def optimizer(params):
        rates.append(len(list(params)))
        return optim.SGD(params, lr=0.05)

    settings = {"hint": "1", "guided": "1", "epochs": 1, "progress": False}
    hints.fit_hints(student, teacher, ((IMAGES, LABELS), None), optimizer=optimizer, **settings)
    assert rates == [len(list(student.parameters())) + 2]  # the regressor's two
    assert student[1].num_batches_tracked == 2 and student[3].num_batches_tracked == 0
    student.train()(Tensor(IMAGES))
    assert student[3].num_batches_tracked == 1  # nothing stays frozen
    with pytest.raises(TypeError, match="each stage makes its own optimizer; got one that is made, SGD"):
        made = optim.SGD(student.parameters(), lr=0.05)
        hints.fit_hints(student, teacher, ((IMAGES, LABELS), None), optimizer=made, **settings)


def test_the_objective_of_hints_is_the_distance_of_the_regressors_guess():
    student, teacher = lenet((3, 4), 6, 0), lenet((4, 6), 8, 1)
    x = Tensor(IMAGES[:4])
    model = hints.Guided(student, hints.regressor((4, 6), (4, 8), rng=3))
    loss, logits = hints.hinted(teacher, "relu1", "relu1")(model, x, None)
    weight, bias = model.regressor.weight.data, model.regressor.bias.data
    guess = student[:-1](x).data @ weight.T + bias
    assert loss.item() == pytest.approx(((guess - teacher[:-1](x).data) ** 2).sum() / 8, rel=1e-5)
    assert np.array_equal(logits.data, student(x).data)
