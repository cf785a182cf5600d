"""Wrong answers that students give, and words that the verdict on each must contain."""

import numpy as np

from tinyopt import Tensor, compress, ops
from tinyopt.compress import distill, teachers
from tinyopt.course import wrong
from tinyopt.losses import cross_entropy


def kept(*, p=(5 / 8, 2 / 8, 1 / 8), q=(1 / 4, 2 / 4, 1 / 4), divergence=None):
    """The right answer of 18.1, with some part of it exchanged."""
    return list(p), list(q), (5 * np.log(2.5) - 3 * np.log(2)) / 8 if divergence is None else divergence


# --- 18.1 ---


@wrong("18.1", says="softmax at T = 1")
def without_temperature():
    return kept(p=[25 / 30, 4 / 30, 1 / 30], q=[1 / 6, 4 / 6, 1 / 6])


@wrong("18.1", says="does not sum to 1")
def not_normalised():
    return kept(p=[5, 2, 1], q=[1, 2, 1])


@wrong("18.1", says="the other direction")
def other_direction():
    return kept(divergence=0.25 * np.log(0.4) + 0.5 * np.log(2) + 0.25 * np.log(2))


@wrong("18.1", says="in bits")
def in_bits():
    return kept(divergence=kept()[2] / np.log(2))


@wrong("18.1", says="cross-entropy")
def only_the_cross_entropy():
    return kept(divergence=-(5 / 8 * np.log(1 / 4) + 2 / 8 * np.log(1 / 2) + 1 / 8 * np.log(1 / 4)))


@wrong("18.1", says="sign is turned")
def turned():
    return kept(divergence=-kept()[2])


@wrong("18.1", says="factor T²")
def with_T2():
    return kept(divergence=4 * kept()[2])


@wrong("18.1", says="student's q is the softmax at T = 1")
def student_not_softened():
    return kept(q=[1 / 6, 4 / 6, 1 / 6])


@wrong("18.1", says="out of reach")
def asked_the_package():
    p, q = (distill.soften(np.log(row), 2) for row in ([25.0, 4.0, 1.0], [1.0, 4.0, 1.0]))
    return p, q, (p * np.log(p / q)).sum()


@wrong("18.1", says="not its half", blind=True)
def half_for_root():
    return kept(p=[12.5 / 15.5, 2 / 15.5, 1 / 15.5], divergence=0.6823)


# --- 18.2 ---


@wrong("18.2", says="were multiplied by T")
def times_T(logits, temperature):
    p = np.exp(logits * temperature)
    return p / p.sum(axis=-1, keepdims=True)


@wrong("18.2", says="probabilities were divided by T")
def divided_afterwards(logits, temperature):
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True) / temperature


@wrong("18.2", says="temperature has no effect")
def normalised_afterwards(logits, temperature):
    p = np.exp(logits) / temperature
    return p / p.sum(axis=-1, keepdims=True)


@wrong("18.2", says="does not sum to 1")
def no_sum(logits, temperature):
    return np.exp(logits / temperature)


@wrong("18.2", says="All rows together")
def sum_of_all(logits, temperature):
    p = np.exp(logits / temperature)
    return p / p.sum()


@wrong("18.2", says="The columns sum to 1")
def first_axis(logits, temperature):
    p = np.exp(logits / temperature)
    return p / p.sum(axis=0, keepdims=True)


@wrong("18.2", says="Subtract the row's maximum")
def overflows(logits, temperature):
    p = np.exp(logits / temperature)
    return p / p.sum(axis=-1, keepdims=True)


@wrong("18.2", says="Subtract the row's maximum")
def maximum_of_all_rows(logits, temperature):
    p = np.exp((logits - logits.max()) / temperature)
    return p / p.sum(axis=-1, keepdims=True)


@wrong("18.2", says="changes the logits")
def in_place(logits, temperature):
    logits -= logits.max(axis=-1, keepdims=True)
    p = np.exp(logits / temperature)
    return p / p.sum(axis=-1, keepdims=True)


@wrong("18.2", says="its own maximum, that of z / T", blind=True)
def maximum_before_the_temperature(logits, temperature):
    p = np.exp(logits / temperature - logits.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


# --- 18.3 ---


@wrong("18.3", says="divided by N · C")
def mean_of_all(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    log_p, log_q = (ops.log_softmax(z * (1 / temperature)) for z in (Tensor(teacher_logits), student_logits))
    soft = temperature**2 * (log_p.exp() * (log_p - log_q)).mean()
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, target)


def loss_with(
    student, teacher, target, temperature, alpha, *,
    factor=2, T_teacher=None, T_student=None, T_hard=1.0, swap=False,
):  # fmt: skip
    """The loss with some of its parts open to mistakes."""
    log_p = ops.log_softmax(Tensor(teacher) * (1 / (T_teacher or temperature)))
    log_q = ops.log_softmax(student * (1 / (T_student or temperature)))
    first, second = (log_q, log_p) if swap else (log_p, log_q)
    soft = (first.exp() * (first - second)).sum() * (temperature**factor / len(student))
    return alpha * soft + (1 - alpha) * cross_entropy(student * (1 / T_hard), target)


@wrong("18.3", says="factor T² is missing")
def no_T2(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, factor=0)


@wrong("18.3", says="T², not T")
def only_T(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, factor=1)


@wrong("18.3", says="teacher's logits are not divided")
def hard_teacher(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, T_teacher=1.0)


@wrong("18.3", says="student's logits are not divided")
def hard_student(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, T_student=1.0)


@wrong("18.3", says="the wrong direction")
def reversed_divergence(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, swap=True)


@wrong("18.3", says="labels' part was softened too")
def soft_labels_part(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(student_logits, teacher_logits, target, temperature, alpha, T_hard=temperature)


@wrong("18.3", says="alpha is the teacher's share")
def alpha_exchanged(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    student = student_logits
    hard = cross_entropy(student, target)
    return (1 - alpha) * loss_with(student, teacher_logits, target, temperature, 1.0) + alpha * hard


@wrong("18.3", says="Σ p log p of the teacher is missing")
def cross_entropy_for_KL(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    p = Tensor(distill.soften(Tensor(teacher_logits).data, temperature))
    soft = temperature**2 * cross_entropy(student_logits * (1 / temperature), p)
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, target)


@wrong("18.3", says="The teacher gets a gradient")
def teacher_not_cut(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    v = teacher_logits if isinstance(teacher_logits, Tensor) else Tensor(teacher_logits)
    log_p, log_q = (ops.log_softmax(z * (1 / temperature)) for z in (v, student_logits))
    soft = (log_p.exp() * (log_p - log_q)).sum() * (temperature**2 / len(student_logits))
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, target)


@wrong("18.3", says="graph does not reach")
def arrays_only(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    return loss_with(Tensor(student_logits.data), teacher_logits, target, temperature, alpha)


@wrong("18.3", says="log 0 is −∞")
def log_of_p(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    p = distill.soften(Tensor(teacher_logits).data, temperature)
    log_q = ops.log_softmax(student_logits * (1 / temperature))
    soft = (Tensor(p) * (Tensor(np.log(p)) - log_q)).sum() * (temperature**2 / len(student_logits))
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, target)


@wrong("18.3", says="out of reach")
def called_the_package(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    settings = {"temperature": temperature, "alpha": alpha}
    return compress.distillation_loss(student_logits, teacher_logits, target, **settings)


@wrong("18.3", says="Σ p log p of the teacher is missing", blind=True)
def only_what_depends_on_the_student(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    p = ops.log_softmax(Tensor(teacher_logits) * (1 / temperature)).exp()
    soft = (p * ops.log_softmax(student_logits * (1 / temperature))).sum() * (-(temperature**2) / len(target))
    return alpha * soft + (1 - alpha) * cross_entropy(student_logits, target)


# --- 18.4 ---


@wrong("18.4", says="Nothing was frozen")
def forgets_gradients(model, *, but=()):
    for _, parameter in model.named_parameters():
        parameter.grad = None
    return 0


def freeze_if(model, learns):
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad = learns(name)
        trained += parameter.data.size * parameter.requires_grad
    return trained


@wrong("18.4", says="turned round")
def freezes_the_named(model, *, but=()):
    return freeze_if(model, lambda name: not any(name == part or name.startswith(part + ".") for part in but))


@wrong("18.4", says="only looks like")
def any_substring(model, *, but=()):
    return freeze_if(model, lambda name: any(part in name for part in but))


@wrong("18.4", says="only looks like")
def no_dot(model, *, but=()):
    return freeze_if(model, lambda name: any(name.startswith(part) for part in but))


@wrong("18.4", says="Other parameters are trained")
def first_name_only(model, *, but=()):
    return freeze_if(model, lambda name: name.split(".")[0] in but)


@wrong("18.4", says="has a bias too")
def weights_only(model, *, but=()):
    return freeze_if(model, lambda name: any(name == f"{part}.weight" for part in but))


@wrong("18.4", says="stays frozen")
def never_unfreezes(model, *, but=()):
    trained = 0
    for name, parameter in model.named_parameters():
        if any(name == part or name.startswith(part + ".") for part in but):
            trained += parameter.data.size
        else:
            parameter.requires_grad = False
    return trained


@wrong("18.4", says="You counted arrays")
def counts_arrays(model, *, but=()):
    freeze_if(model, lambda name: any(name == part or name.startswith(part + ".") for part in but))
    return sum(parameter.requires_grad for parameter in model.parameters())


@wrong("18.4", says="These are all weights")
def counts_all(model, *, but=()):
    freeze_if(model, lambda name: any(name == part or name.startswith(part + ".") for part in but))
    return sum(parameter.data.size for parameter in model.parameters())


@wrong("18.4", says="A layer inside another one was not found", blind=True)
def outer_layers_only(model, *, but=()):
    return freeze_if(model, lambda name: name in but or name.split(".")[0] in but)


@wrong("18.4", says="that of a parameter itself")
def layers_only(model, *, but=()):
    return freeze_if(model, lambda name: any(name.startswith(part + ".") for part in but))


# --- 18.5 ---


@wrong("18.5", says="the α that the friend wrote down")
def as_written():
    return 0.5


@wrong("18.5", says="divide by their sum")
def not_shared():
    return 0.5 / 9


@wrong("18.5", says="Turned round")
def louder():
    return 0.9


@wrong("18.5", says="The factor is T²")
def with_T():
    return 0.25


@wrong("18.5", says="1 to 9")
def the_ratio():
    return 1 / 9


@wrong("18.5", says="divide by their sum", blind=True)
def one_share_divided():
    alpha = 0.5
    return alpha / 3**2


# --- 18.6 ---


def map_with(features, power=2, *, energy=None, length=None):
    """The map with its energy or its length exchanged."""
    Q = (abs(features) ** power).sum(axis=1).reshape(len(features), -1) if energy is None else energy
    squares = (Q**2).sum(axis=1, keepdims=True)
    return Q / (ops.maximum(squares, 1e-24) ** 0.5 if length is None else length(Q))


@wrong("18.6", says="not divided by its length")
def not_scaled(features, *, power=2):
    return (abs(features) ** power).sum(axis=1).reshape(len(features), -1)


@wrong("18.6", says="divided by the sum of Q")
def sums_to_one(features, *, power=2):
    return map_with(features, power, length=lambda Q: ops.maximum(Q.sum(axis=1, keepdims=True), 1e-12))


@wrong("18.6", says="a root is missing")
def squared_length(features, *, power=2):
    return map_with(features, power, length=lambda Q: ops.maximum((Q**2).sum(axis=1, keepdims=True), 1e-24))


@wrong("18.6", says="signs cancel")
def sum_before_power(features, *, power=2):
    Q = (abs(features.sum(axis=1)) ** power).reshape(len(features), -1)
    return map_with(features, energy=Q)


@wrong("18.6", says="abs is missing")
def no_abs(features, *, power=2):
    return map_with(features, energy=(features**power).sum(axis=1).reshape(len(features), -1))


@wrong("18.6", says="it is always 2")
def ignores_the_power(features, *, power=2):
    return map_with(features)


@wrong("18.6", says="One length for all images")
def one_length(features, *, power=2):
    return map_with(features, power, length=lambda Q: ops.maximum((Q**2).sum(), 1e-24) ** 0.5)


@wrong("18.6", says="silent layer's map is NaN")
def zero_by_zero(features, *, power=2):
    return map_with(features, power, length=lambda Q: (Q**2).sum(axis=1, keepdims=True) ** 0.5)


@wrong("18.6", says="graph does not reach")
def map_of_arrays(features, *, power=2):
    return map_with(Tensor(features.data), power)


@wrong("18.6", says="still a picture")
def not_flat(features, *, power=2):
    Q = (abs(features) ** power).sum(axis=1)
    return Q / ops.maximum((Q**2).sum(axis=(1, 2), keepdims=True), 1e-24) ** 0.5


@wrong("18.6", says="reshape moved no axis", blind=True)
def channels_by_reshape(features, *, power=2):
    n, c, h, w = features.shape
    energy = (abs(features) ** power).reshape(n, h * w, c).sum(axis=2)
    length = ops.maximum((energy**2).sum(axis=1, keepdims=True), 1e-24) ** 0.5
    return energy / length


@wrong("18.6", says="Q is squared once more", blind=True)
def root_of_energy(features, *, power=2):
    n, _, h, w = features.shape
    energy = (abs(features) ** power).sum(axis=1).reshape(n, h * w)
    length = ops.maximum(energy.sum(axis=1, keepdims=True), 1e-24) ** 0.5
    return energy / length


# --- 18.7 ---


def mutual_with(logits, target, hear):
    """The losses with another way to hear the others: hear(k, logits, p)."""
    p = [distill.soften(z.data, 1.0) for z in logits]
    return [cross_entropy(z, target) + hear(k, logits, p) for k, z in enumerate(logits)]


def total(parts):
    return sum(parts[1:], parts[0])


@wrong("18.7", says="Divide by K − 1")
def sum_of_others(logits, target):
    return mutual_with(logits, target, lambda k, z, p: total(
        [teachers.divergence(z[k], p[j]) for j in range(len(p)) if j != k]))  # fmt: skip


@wrong("18.7", says="divided by K")
def mean_of_all_students(logits, target):
    return mutual_with(logits, target, lambda k, z, p: total(
        [teachers.divergence(z[k], p[j]) for j in range(len(p))]) * (1 / len(p)))  # fmt: skip


@wrong("18.7", says="the labels' losses alone")
def hears_itself(logits, target):
    return mutual_with(logits, target, lambda k, z, p: teachers.divergence(z[k], p[k]))


@wrong("18.7", says="wrong direction")
def others_learn(logits, target):
    return mutual_with(logits, target, lambda k, z, p: total(
        [teachers.divergence(z[j], p[k]) for j in range(len(p)) if j != k]) * (1 / (len(p) - 1)))  # fmt: skip


@wrong("18.7", says="KL from the mean")
def mean_first(logits, target):
    return mutual_with(logits, target, lambda k, z, p: teachers.divergence(
        z[k], sum(p[j] for j in range(len(p)) if j != k) / (len(p) - 1)))  # fmt: skip


@wrong("18.7", says="Only the next student")
def a_ring(logits, target):
    return mutual_with(logits, target, lambda k, z, p: teachers.divergence(z[k], p[(k + 1) % len(p)]))


@wrong("18.7", says="has a gradient for the others")
def others_not_cut(logits, target):
    logs = [ops.log_softmax(z) for z in logits]
    kl = [[(a.exp() * (a - b)).sum() * (1 / len(target)) for a in logs if a is not b] for b in logs]
    return [cross_entropy(z, target) + total(one) * (1 / len(one)) for z, one in zip(logits, kl)]


@wrong("18.7", says="−Σ p_l log p_k")
def peers_cross_entropy(logits, target):
    return mutual_with(logits, target, lambda k, z, p: total(
        [cross_entropy(z[k], Tensor(one)) for one in p[:k] + p[k + 1 :]]) * (1 / (len(p) - 1)))  # fmt: skip


@wrong("18.7", says="wrong direction", blind=True)
def pulls_the_others(logits, target):
    p = [distill.soften(z.data, 1.0) for z in logits]
    losses = []
    for k, z in enumerate(logits):
        pulls = [teachers.divergence(logits[j], p[k]) for j in range(len(logits)) if j != k]
        loss = cross_entropy(z, target) + sum(pulls[1:], pulls[0]) * (1 / (len(logits) - 1))
        losses.append(loss)
    return losses


@wrong("18.7", says="the mean of the whole cohort", blind=True)
def learns_from_the_mean_of_all(logits, target):
    p = [distill.soften(z.data, 1.0) for z in logits]
    losses = []
    for z in logits:
        loss = cross_entropy(z, target) + teachers.divergence(z, np.mean(p, axis=0))
        losses.append(loss)
    return losses
