"""Teachers of any kind against PyTorch's numbers, numbers by hand, and loops written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import Tensor, data, gradcheck, measure, nn, train
from tinyopt.compress import distill, teachers
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.optim import SGD

DIGITS = data.digits()
IMAGES, LABELS = DIGITS.train.images[:96], DIGITS.train.labels[:96]
FEW = ((IMAGES, LABELS), None)
Z = np.array([[1.0, 0.0, -1.0], [0.5, 2.0, 0.0]])
P = np.array([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0]])


def linear(seed, n_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes, rng=seed))


def neighbours(images, labels, k=5):
    """What another library's `predict_proba` is: a vote of the k nearest rows, with exact zeros, in float64."""
    known = images.reshape(len(images), -1).astype("f8")

    def predict_proba(rows):
        assert type(rows) is np.ndarray and rows.ndim == 2
        distance = (rows**2).sum(axis=1)[:, np.newaxis] - 2 * rows @ known.T + (known**2).sum(axis=1)
        return np.eye(10)[labels[np.argsort(distance, axis=1)[:, :k]]].mean(axis=1)

    return predict_proba


class Forest:
    """A random forest: each tree has its own drawing of the rows, and each node a few features to choose from."""

    def __init__(self, rows, labels, n_trees, rng):
        draws = (rng.integers(len(rows), size=len(rows)) for _ in range(n_trees))
        self.trees = [self.grow(rows[draw], labels[draw], rng) for draw in draws]

    def grow(self, rows, labels, rng):
        shares = np.bincount(labels, minlength=10) / len(labels)
        splits = []
        for feature in rng.choice(rows.shape[1], size=5, replace=False):
            line = rows[:, feature].mean()
            left = rows[:, feature] < line
            if left.any():  # and never all
                sums = [(np.bincount(labels[side]) ** 2).sum() / side.sum() for side in (left, ~left)]
                splits.append((sum(sums), feature, line, left))  # the largest is the purest, by Gini
        if len(labels) < 12 or not splits:
            return shares
        _, feature, line, left = max(splits, key=lambda split: split[0])
        return feature, line, *(self.grow(rows[side], labels[side], rng) for side in (left, ~left))

    def answer(self, tree, row):
        while type(tree) is tuple:
            feature, line, left, right = tree
            tree = left if row[feature] < line else right
        return tree

    def predict_proba(self, rows):
        return np.array([[self.answer(tree, row) for tree in self.trees] for row in rows]).mean(axis=1)


# --- the loss -------------------------------------------------------------------------------------------


@given(z=hnp.arrays(np.float64, (3, 4), elements=st.floats(-20, 20)), temperature=st.floats(0.2, 50))
def test_tempered_probabilities_are_softened_logits(z, temperature):
    tempered = teachers.temper(distill.soften(z, 1.0), temperature)
    np.testing.assert_allclose(tempered, distill.soften(z, temperature), rtol=1e-7, atol=1e-12)


def test_tempering_by_hand():
    # √0.64 : √0.36 = 0.8 : 0.6; squares 0.64² : 0.36²
    p = np.array([0.64, 0.36, 0.0])
    np.testing.assert_allclose(teachers.temper(p, 2), [8 / 14, 6 / 14, 0])
    np.testing.assert_allclose(teachers.temper(p, 0.5), [0.4096 / 0.5392, 0.1296 / 0.5392, 0])
    np.testing.assert_allclose(teachers.temper(p, 1e-3), [1, 0, 0], atol=1e-200)
    np.testing.assert_allclose(teachers.temper(p, 1e9), [0.5, 0.5, 0])
    assert teachers.temper(p.astype("f4"), np.float64(2)).dtype == np.float32


def test_the_divergence_is_pytorchs_also_where_a_teacher_is_certain():
    # KLDivLoss("batchmean")(log_softmax(z / 2), p ** 0.5, normalised) * 4, torch 2.13, float64
    assert teachers.divergence(Tensor(Z), P, temperature=2.0).item() == pytest.approx(3.633570075983414, rel=1e-12)
    student, labels = nn.Identity(), Tensor(np.array([0, 2]))
    z = Tensor(Z, requires_grad=True)
    loss, logits = teachers.taught_from(lambda images: P, temperature=2.0, alpha=0.7)(student, z, labels)
    loss.backward()
    assert loss.item() == pytest.approx(2.9505933046894186, rel=1e-12) and logits is z  # 0.3 · 1.3569808383367636
    expected = [[-0.11872683627754699, -0.02520435595610343, 0.14393119223365036],
                [0.2043183890208741, 0.49080263683670905, -0.6951210258575832]]  # fmt: skip
    np.testing.assert_allclose(z.grad, expected, atol=1e-14)
    alone, _ = teachers.taught_from(lambda images: P, temperature=2.0, alpha=1)(student, z, None)  # reads no label
    assert alone.item() == pytest.approx(3.633570075983414, rel=1e-12)
    gradcheck(lambda x: teachers.divergence(x, P, temperature=3.0), Z)


def test_a_model_teaches_as_its_logits_do():
    teacher, student = linear(0), linear(1)
    batch = student, Tensor(IMAGES[:7]), Tensor(LABELS[:7])
    loss, logits = teachers.taught_from(teacher, temperature=3.0, alpha=0.6)(*batch)
    expected, same = distill.taught_by(teacher, temperature=3.0, alpha=0.6)(*batch)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5) and np.array_equal(logits.data, same.data)
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_bad_temperatures_shares_and_classes_are_refused():
    for temperature in (0, -1.0, float("nan")):
        for use in (lambda t: teachers.temper(P, t), lambda t: teachers.taught_from(linear(0), temperature=t)):
            with pytest.raises(ValueError, match="temperature is above 0"):
                use(temperature)
    with pytest.raises(ValueError, match=r"alpha is the teacher's share of the loss, in \[0, 1\]; got 1.5"):
        teachers.taught_from(linear(0), alpha=1.5)
    with pytest.raises(ShapeError, match=r"the same classes; got \(96, 9\) and \(96, 10\)"):
        train.fit(linear(0), FEW, objective=teachers.taught_from(linear(1, 9)), batch_size=96, progress=False)


# --- teachers -------------------------------------------------------------------------------------------


def test_a_function_of_another_library_teaches_without_labels():
    forest = teachers.predictor(neighbours(DIGITS.train.images[:300], DIGITS.train.labels[:300]))
    p = teachers.answers(forest, IMAGES)
    assert p.dtype == np.float32 and (p == 0).any() and p[0] @ np.ones(10) == pytest.approx(1)
    student, nonsense = linear(0), (DIGITS.train.images[300:700], np.zeros(400, dtype="i8"))
    settings = {"epochs": 10, "optimizer": SGD(student.parameters(), lr=0.3), "progress": False}
    train.fit(student, (nonsense, None), objective=teachers.taught_from(forest, temperature=1.0, alpha=1), **settings)
    assert measure.evaluate(student, DIGITS.test).accuracy > 0.85  # labels alone, all of them 0, would give 0.1


def test_a_random_forest_teaches_a_network_and_is_asked_once_for_each_image():
    rows, labels = DIGITS.train.images[:250].reshape(250, 64), DIGITS.train.labels[:250]
    forest, asked = Forest(rows, labels, 8, np.random.default_rng(0)), []

    def predict_proba(rows):
        asked.append(len(rows))
        return forest.predict_proba(rows)

    teacher = teachers.remembered(teachers.predictor(predict_proba))
    student, nonsense = linear(0), (DIGITS.train.images[400:700], np.zeros(300, dtype="i8"))
    settings = {"epochs": 12, "optimizer": SGD(student.parameters(), lr=0.3), "progress": False}
    train.fit(student, (nonsense, None), objective=teachers.taught_from(teacher, alpha=1), **settings)
    assert sum(asked) == 300
    assert measure.evaluate(student, DIGITS.test).accuracy > 0.75  # labels alone, all of them 0, would give 0.1
    again = teacher(nonsense[0][[7, 3, 7]])
    np.testing.assert_allclose(again, forest.predict_proba(nonsense[0][[7, 3, 7]].reshape(3, 64)), rtol=1e-6)
    assert sum(asked) == 300


def test_what_a_teacher_may_not_answer():
    with pytest.raises(ShapeError, match=r"one row of probabilities for each of 96 images; got \(2, 3\)"):
        teachers.answers(lambda images: P, IMAGES)
    for wrong in (Z, P * 2, P * np.nan):
        with pytest.raises(ValueError, match="From logits: soften"):
            teachers.answers(lambda images: wrong, IMAGES[:2])


def test_an_ensemble_is_the_weighted_mean():
    one, other = (lambda images: P), (lambda images: np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.0]]))
    np.testing.assert_allclose(teachers.ensemble(one, other)(Z), [[0.4, 0.6, 0], [0.25, 0.25, 0.5]])
    np.testing.assert_allclose(
        teachers.ensemble(one, other, weights=(3, 1))(Z), [[0.55, 0.45, 0], [0.125, 0.125, 0.75]]
    )
    models = linear(0), linear(1)
    powers = [np.exp(model(Tensor(IMAGES)).data) for model in models]
    expected = sum(power / power.sum(axis=1, keepdims=True) for power in powers) / 2
    np.testing.assert_allclose(teachers.ensemble(*models)(IMAGES), expected, rtol=1e-5)
    for wrong in ((), (one,)):
        with pytest.raises(ValueError, match="a weight of 0 or more for each"):
            teachers.ensemble(*wrong, weights=(1, -1)[: len(wrong) + 1])
    with pytest.raises(ShapeError, match=r"need the same classes; got \[10, 4\]"):
        teachers.ensemble(linear(0), linear(0, 4))(IMAGES)


def test_unlabelled_images_get_the_teachers_answers_and_help():
    teacher = teachers.predictor(neighbours(DIGITS.train.images, DIGITS.train.labels))
    few, rest = DIGITS.train.take(slice(0, 20)), DIGITS.train.images[20:620]
    both = teachers.with_unlabelled(few, rest, teacher, batch_size=250)
    assert np.array_equal(both.images, DIGITS.train.images[:620])
    assert np.array_equal(both.labels[:20], np.eye(10, dtype="f4")[few.labels])
    np.testing.assert_array_equal(both.labels[20:], teacher(rest).astype("f4"))
    accuracy = []
    for part in (few, both):
        student = linear(0)
        settings = {"epochs": 30 if part is both else 200, "optimizer": SGD(student.parameters(), lr=0.3)}
        train.fit(student, (part, None), progress=False, **settings)
        accuracy.append(measure.evaluate(student, DIGITS.test).accuracy)
    assert accuracy[1] > accuracy[0] + 0.1
    with pytest.raises(ShapeError, match="need one shape"):
        teachers.with_unlabelled(few, rest[:, :, :4], teacher)
    with pytest.raises(ValueError, match="teacher and labels need the same classes; got 3 and a label"):
        teachers.with_unlabelled(few, rest, linear(0, 3))
    with pytest.raises(ValueError, match="no image without a label"):
        teachers.with_unlabelled(few, rest[:0], teacher)
    with pytest.raises(DtypeError, match="labels here are class numbers"):
        teachers.with_unlabelled(both, rest, teacher)
    none = teachers.with_unlabelled(few.take(slice(0, 0)), rest[:1], teacher)  # a teacher labels all: one image
    assert none.labels.shape == (1, 10)


# --- one after the other --------------------------------------------------------------------------------


def test_a_chain_is_the_loop_written_out():
    teacher, students, twins = linear(9), [linear(1), linear(2)], [linear(1), linear(2)]
    settings = {"epochs": 2, "batch_size": 32, "progress": False}
    histories = teachers.chain(
        teacher, students, FEW, temperature=2.0, alpha=0.8, optimizer=lambda p: SGD(p, lr=0.2), **settings
    )
    for twin, before in zip(twins, (teacher, twins[0])):
        objective = teachers.taught_from(before, temperature=2.0, alpha=0.8)
        train.fit(twin, FEW, objective=objective, optimizer=SGD(twin.parameters(), lr=0.2), **settings)
    for student, twin in zip(students, twins):
        assert all(np.array_equal(a.data, b.data) for a, b in zip(student.parameters(), twin.parameters()))
    assert [len(history) for history in histories] == [2, 2]
    for wrong in ({"students": []}, {"students": students, "checkpoint": "run.ckpt"}):
        with pytest.raises(ValueError, match="a chain needs students, and no checkpoint"):
            teachers.chain(teacher, data=FEW, **wrong)


def test_born_again_trains_the_first_with_labels_and_the_next_by_the_one_before():
    settings = {"epochs": 2, "batch_size": 32, "progress": False}
    first, second, third = teachers.born_again(linear, FEW, **settings)
    alone, twin = linear(0), linear(2)
    train.fit(alone, FEW, **settings)
    train.fit(twin, FEW, objective=teachers.taught_from(second, temperature=1.0, alpha=0.5), **settings)
    for own, other in ((first, alone), (third, twin)):
        assert np.array_equal(own[1].weight.data, other[1].weight.data)
    assert len(teachers.born_again(linear, FEW, generations=1, **settings)) == 1
    with pytest.raises(ValueError, match="1 or more; got 0"):
        teachers.born_again(linear, FEW, generations=0)
    with pytest.raises(ValueError, match="one model twice"):
        teachers.born_again(lambda k: first, FEW)
    with pytest.raises(ValueError, match="no checkpoint"):
        teachers.born_again(linear, FEW, checkpoint="run.ckpt")


# --- each other -----------------------------------------------------------------------------------------

COHORT = [Z, np.array([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]), np.array([[2.0, -1.0, 0.0], [0.0, 0.0, 3.0]])]


def test_mutual_losses_have_pytorchs_values_and_gradients():
    # cross_entropy(z_k) + Σ kl_div(log_softmax(z_k), softmax(z_l.detach()), "batchmean") / 2, each backward; torch 2.13
    students = [Tensor(z, requires_grad=True) for z in COHORT]
    losses = teachers.mutual_losses(students, np.array([0, 2]))
    values = [2.1094709092315984, 2.495840584184883, 1.3548404206916045]
    np.testing.assert_allclose([loss.item() for loss in losses], values, rtol=1e-12)
    (losses[0] + losses[1] + losses[2]).backward()  # the sum: each gets the gradient of its own loss only
    expected = [
        [[-0.09869311724978444, 0.18124056511700978, -0.08254744786722545],
         [0.04735230287630099, 0.6192253995638071, -0.666577702440108]],
        [[-0.6653173649469548, 0.14025692331986953, 0.5250604416270854],
         [0.36993626615933894, 0.22696799198746248, -0.5969042581468015]],
        [[0.12449910613336274, -0.07215744103390473, -0.05234166509945792],
         [-0.10136410572552243, -0.24433237989739892, 0.34569648562292143]],
    ]  # fmt: skip
    np.testing.assert_allclose([z.grad for z in students], expected, atol=1e-14)


def test_a_cohort_learns_each_by_its_own_loss_and_answers_with_the_mean():
    students, x, y = [linear(0), linear(1)], Tensor(IMAGES), Tensor(LABELS)
    cohort = teachers.Cohort(*students)
    loss, outputs = teachers.mutually(cohort, x, y)
    np.testing.assert_allclose(np.exp(outputs.data), teachers.ensemble(*students)(IMAGES), rtol=1e-5)
    np.testing.assert_allclose(cohort(x).data, outputs.data, rtol=1e-5)
    alone = [train.classify(student, x, y)[0].item() for student in students]
    p, q = (distill.soften(student(x).data.astype("f8"), 1.0) for student in students)
    gap = ((p - q) * (np.log(p) - np.log(q))).sum() / len(p)  # KL(p ‖ q) + KL(q ‖ p)
    assert loss.item() == pytest.approx(sum(alone) + gap, rel=1e-5)
    rows = train.fit(cohort, ((IMAGES, LABELS), DIGITS.val), objective=teachers.mutually, epochs=3, progress=False)
    assert rows[-1]["loss"] < rows[0]["loss"] and rows[-1]["val_accuracy"] > rows[0]["val_accuracy"]
    p, q = (distill.soften(student(x).data, 1.0) for student in students)
    assert ((p - q) * (np.log(p) - np.log(q))).sum() / len(p) < gap  # they have come to agree


def test_students_that_are_alike_have_nothing_to_teach_each_other():
    z = Tensor(Z)
    assert teachers.mutual_losses([z, z], np.array([0, 2]))[0].item() == pytest.approx(1.3569808383367636)
    far = Tensor(np.array([[800.0, 0.0, -800.0]]))
    assert math.isfinite(teachers.mutual_losses([far, Tensor(-far.data)], np.array([0]))[0].item())
    for few in ([], [z]):
        with pytest.raises(ValueError, match=f"two or more; got {len(few)}"):
            teachers.mutual_losses(few, np.array([0, 2]))
    with pytest.raises(ValueError, match="two or more; got 1"):
        teachers.Cohort(linear(0))
    with pytest.raises(TypeError, match="mutually trains a Cohort: .* got Sequential"):
        teachers.mutually(linear(0), Tensor(IMAGES), Tensor(LABELS))
    with pytest.raises(ShapeError, match="need the same classes"):
        teachers.mutually(teachers.Cohort(linear(0), linear(1, 4)), Tensor(IMAGES), Tensor(LABELS % 4))
