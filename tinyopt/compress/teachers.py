"""Teachers of any kind: a teacher is a function from images to probabilities, and may be no network at all.

Start with these three: `temper`, `divergence`, `taught_from`, which makes of any teacher an objective for `train.fit`.

    forest = predictor(RandomForestClassifier().fit(rows, labels).predict_proba)
    train.fit(student, digits, objective=taught_from(ensemble(forest, network)))
    train.fit(student, (with_unlabelled(few, images, forest), None))                images that nobody labelled
    chain(network, [assistant, student], digits)                                    large, smaller, small
    first, *others = born_again(make, digits)                                       the same size again
    train.fit(Cohort(one, other), digits, objective=mutually)                       nobody knows more than the others

A teacher takes an array of images (N, ...) and returns probabilities (N, C), an array. A model, which gives logits, is
taken as one, too.
"""

import hashlib
import math

import numpy as np

from tinyopt import backend
from tinyopt.compress.distill import check_same_classes, check_teaching, made, soften
from tinyopt.data import Part
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.losses import cross_entropy
from tinyopt.measure import inference
from tinyopt.nn import Module
from tinyopt.optim import Adam
from tinyopt.tensor import OPS, Tensor
from tinyopt.train import fit

# --- the loss ---------------------------------------------------------------------------------------------


def temper(p, temperature):
    """Probabilities made more even by a temperature above 1, where no logits are known.

        p_T = p^(1/T) / Σ p^(1/T)        = softmax(log p / T), so that `temper(soften(z, 1), T)` is `soften(z, T)`

    What a forest or a vote of neighbours has never seen has p = 0, and stays there at every T.

    Shapes: p (..., C), an array -> p_T, same shape; each row sums to 1.
    Raises: ValueError unless temperature > 0.
    Source: Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network",
            arXiv:1503.02531, Equation 1, with log p for the logits.
    """
    check_teaching(temperature)
    most = p.max(axis=-1, keepdims=True)  # divided by it, the largest is 1: not all can underflow
    powers = (p / most) ** (1 / float(temperature))
    return powers / powers.sum(axis=-1, keepdims=True)


def divergence(student_logits, p, *, temperature=1.0):
    """How far a student is from given probabilities.

        L = T² · KL(p_T ‖ q_T)        q_T = softmax(z / T)        KL = Σ p_T (log p_T − log q_T), 0 where p_T = 0
        ∂L/∂z = T (q_T − p_T) / N

    Shapes: student_logits z (N, C), a tensor; p (N, C), an array -> L, a number.
    Units:  nats; the mean over the batch. T² as in `distillation_loss`.
    Raises: ShapeError if teacher and student have different classes; ValueError unless temperature > 0.
    """
    check_same_classes(p.shape, student_logits.shape)
    p = temper(p, temperature)
    log_p = np.log(np.where(p > 0, p, 1.0).astype(p.dtype))
    log_q = OPS["log_softmax"](student_logits * (1 / temperature))
    return (Tensor(p) * (Tensor(log_p) - log_q)).sum() * (temperature**2 / len(p))


def taught_from(teacher, *, temperature=1.0, alpha=0.9):
    """An objective for `train.fit`: match any teacher's probabilities, and the labels.

        L = α T² · KL(p_T ‖ q_T) + (1 − α) · cross_entropy(z, labels)

    Units:  as `distillation_loss`, which it equals for a teacher that is a model; alpha = 1 reads no label.
    Start:  temperature 1 and alpha 0.9 were the best of six pairs for a forest that teaches a network 100 labels, on
            the validation parts of both `mnist5k` and `fashion_mnist`; 4 was 5 to 9 points worse: its votes are even
            enough. For a network that is a teacher, 4 was the best on both, and is the usual start.
    Raises: ValueError for a temperature not above 0, or alpha outside [0, 1]; ShapeError as `divergence`.
    """
    check_teaching(temperature, alpha)

    def objective(student, images, labels):
        p = answers(teacher, images.data)
        logits = student(images)
        loss = divergence(logits, p, temperature=temperature) * alpha
        return loss if alpha == 1 else loss + cross_entropy(logits, labels) * (1 - alpha), logits

    return objective


# --- teachers ---------------------------------------------------------------------------------------------


def answers(teacher, images):
    """The probabilities that a teacher gives for a batch, on the device of the images and of their type.

    Shapes: images (N, ...), an array -> p (N, C).
    Raises: ShapeError for anything but one row for each image; ValueError for rows that are no probabilities.
    """
    if isinstance(teacher, Module):
        with inference(teacher):
            return soften(teacher(Tensor(images)).data, 1.0)
    p = teacher(images)
    p = backend.to_device(p.data if isinstance(p, Tensor) else p, backend.device_of(images).name)
    if p.ndim != 2 or len(p) != len(images):
        raise ShapeError(f"a teacher gives one row of probabilities for each of {len(images)} images; got {p.shape}")
    if type(p) is np.ndarray and not (p.min() >= 0 and abs(p.sum(axis=1) - 1).max() < 1e-3):  # a GPU would wait
        raise ValueError(
            "a teacher gives probabilities: rows of 0 or more that sum to 1. From logits: soften(logits, 1)"
        )
    return p.astype(images.dtype)


def predictor(predict_proba):
    """A teacher from a function of another library, which knows rows of numbers on the host only.

    Shapes: predict_proba takes (N, D), each image as a row, and returns (N, C).
    """

    def teacher(images):
        return np.array(predict_proba(backend.to_host(images).reshape(len(images), -1)))

    return teacher


def remembered(teacher):
    """The same teacher, asked once for each image: it costs nothing from the second epoch on, if images do not change.

        100 images, 300 steps of 32: 9,600 answers, of which 100 are made

    Known images are found by 128 bits of their bytes, on the host, where their answers stay. So the teacher must not
    learn meanwhile.
    """
    known = {}

    def teacher_of_new(images):
        rows, device = backend.to_host(images), backend.device_of(images).name
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            asked = backend.to_device(rows[list(new.values())], device)
            known.update(zip(new, backend.to_host(answers(teacher, asked))))
        return np.stack([known[key] for key in keys])

    return teacher_of_new


def ensemble(*teachers, weights=None):
    """A teacher that is the mean of several.

        p = Σ w_k p_k        Σ w_k = 1

    Shapes: weights, one of 0 or more for each teacher, scaled to sum 1; None weighs all alike.
    Raises: ValueError for no teacher or weights that do not fit; ShapeError, when asked, if their classes differ.
    Source: Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network",
            arXiv:1503.02531, Section 1.
    """
    weights = [1.0] * len(teachers) if weights is None else list(weights)
    if not teachers or len(weights) != len(teachers) or not sum(weights) > 0 or min(weights) < 0:
        raise ValueError(
            "an ensemble needs teachers, and a weight of 0 or more for each, one above 0; got "
            f"{len(teachers)} teachers and weights {weights}"
        )

    def teacher(images):
        parts = [answers(one, images) for one in teachers]
        if len({part.shape for part in parts}) > 1:
            raise ShapeError(f"teachers of one ensemble need the same classes; got {[p.shape[1] for p in parts]}")
        return sum(part * (weight / sum(weights)) for part, weight in zip(parts, weights))

    return teacher


def with_unlabelled(part, images, teacher, *, batch_size=256):
    """Images without labels, answered by a teacher, behind those that have labels: one part for `train.fit`.

    Shapes: part, images (N, ...) with labels (N,); images (M, ...) -> images (N + M, ...) and labels (N + M, C),
            probabilities: one-hot for the first N, the teacher's for the rest.
    Raises: ShapeError if the images differ in shape; ValueError for a label that the teacher has no class for, or
            no image to answer.
    Source: Bucilă, Caruana & Niculescu-Mizil (2006), "Model Compression", KDD, where a teacher labels all that a
            student learns from.
    """
    known, labels = part
    if known.shape[1:] != images.shape[1:]:
        raise ShapeError(f"images with and without labels need one shape; got {known.shape[1:]} and {images.shape[1:]}")
    if len(images) == 0:
        raise ValueError("there is no image without a label: with_unlabelled needs 1 or more; leave it out")
    home = next((p.device for p in teacher.parameters()), "cpu") if isinstance(teacher, Module) else "cpu"
    batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    p = np.concatenate([backend.to_host(answers(teacher, backend.to_device(batch, home))) for batch in batches])
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DtypeError(f"labels here are class numbers (N,), integers; got {labels.dtype} {labels.shape}")
    if len(labels) and (labels.min() < 0 or labels.max() >= p.shape[1]):
        raise ValueError(f"teacher and labels need the same classes; got {p.shape[1]} and a label {labels.max()}")
    certain = np.eye(p.shape[1], dtype=p.dtype)[labels]
    return Part(np.concatenate([known, images]), np.concatenate([certain, p]))


# --- one after the other ----------------------------------------------------------------------------------


def chain(teacher, students, data, *, temperature=4.0, alpha=0.9, optimizer=Adam, **settings):
    """Teach each student by the one before it: teacher, assistants in between, and the smallest last. In place.

        teacher → assistant → ... → student

    A student much smaller than its teacher learns less from it than from one in between.

    Shapes: students, models from large to small. Returns their histories. `optimizer` makes one from parameters,
            such as `lambda params: SGD(params, lr=0.1)`; `settings` go to `train.fit`, once for each.
    Raises: ValueError for one checkpoint for them all, or no student.
    Source: Mirzadeh et al. (2020), "Improved Knowledge Distillation via Teacher Assistant", AAAI,
            arXiv:1902.03393.
    """
    students = list(students)
    if not students or "checkpoint" in settings:
        raise ValueError(
            "a chain needs students, and no checkpoint: each would go on from the file of the one before it. Write "
            "its loop out: train.fit(student, data, objective=taught_from(teacher), checkpoint=path)"
        )
    histories = []
    for student in students:
        objective = taught_from(teacher, temperature=temperature, alpha=alpha)
        histories.append(fit(student, data, objective=objective, optimizer=made(optimizer, student), **settings))
        teacher = student
    return histories


def born_again(make, data, *, generations=3, temperature=1.0, alpha=0.5, optimizer=Adam, **settings):
    """Train a model with the labels, then others of the same size, each taught by the one before it.

    Shapes: make(k), a function that makes the untrained model of generation k, with other random numbers each.
            Returns the models, the first without a teacher; `ensemble(*models)` is the last thing to measure.
    Units:  generations of 1 or more, the first counted. Settings as `chain`.
    Source: Furlanello et al. (2018), "Born-Again Neural Networks", arXiv:1805.04770, Section 3.
    Differs: labels and teacher have half of the loss each; there they are summed, or the teacher is alone (alpha = 1).
    """
    if generations < 1:
        raise ValueError(f"generations counts models, the first one too: 1 or more; got {generations}")
    models = [make(k) for k in range(generations)]
    if len({id(model) for model in models}) < generations:
        raise ValueError("make(k) returned one model twice: it must make a new one each time it is called")
    if "checkpoint" in settings:
        raise ValueError("born_again takes no checkpoint: each generation would go on from the one before it")
    fit(models[0], data, optimizer=made(optimizer, models[0]), **settings)
    if generations > 1:
        chain(models[0], models[1:], data, temperature=temperature, alpha=alpha, optimizer=optimizer, **settings)
    return models


# --- each other -------------------------------------------------------------------------------------------


def mutual_losses(logits, target):
    """The loss of each student in a cohort: the labels, and the other students' probabilities.

        L_k = cross_entropy(z_k, labels) + 1/(K − 1) · Σ over l ≠ k of KL(p_l ‖ p_k)
        p_l = softmax(z_l), as a constant: no gradient flows to the others

    Shapes: logits, a list of K tensors (N, C); target as in `cross_entropy` -> a list of K numbers, as tensors.
    Raises: ValueError for fewer than two; ShapeError if their classes differ.
    Source: Zhang, Xiang, Hospedales & Lu (2018), "Deep Mutual Learning", arXiv:1706.00384, Section 3.
    """
    if len(logits) < 2:
        raise ValueError(f"students that teach each other are two or more; got {len(logits)}")
    p = [soften(z.data, 1.0) for z in logits]
    losses = []
    for k, z in enumerate(logits):
        others = [divergence(z, p[j]) for j in range(len(p)) if j != k]
        losses.append(cross_entropy(z, target) + sum(others[1:], others[0]) * (1 / len(others)))
    return losses


class Cohort(Module):
    """Students that learn together. As one model it answers with their mean probability, as logits.

        z = log (1/K · Σ softmax(z_k))

    Raises: ValueError for fewer than two.
    """

    def __init__(self, *students):
        if len(students) < 2:
            raise ValueError(f"students that teach each other are two or more; got {len(students)}")
        self.students = list(students)

    def forward(self, x):
        return self.joined([student(x) for student in self.students])

    def joined(self, logits):
        """The answer that the students' logits make together."""
        logs = OPS["stack"](*(OPS["log_softmax"](z) for z in logits), axis=0)
        return OPS["logsumexp"](logs, axis=0) - math.log(len(logits))


def mutually(cohort, images, labels):
    """The objective for a `Cohort`: the sum of its `mutual_losses`, which gives each student the gradient of its own.

    Raises: TypeError for a model that is no `Cohort`.
    Differs: in the paper the students take turns in each step; here all step at once.
    """
    if not isinstance(cohort, Cohort):
        raise TypeError(f"mutually trains a Cohort: Cohort(one, other); got {type(cohort).__name__}")
    logits = [student(images) for student in cohort.students]
    losses = mutual_losses(logits, labels)
    return sum(losses[1:], losses[0]), cohort.joined([z.detach() for z in logits])
