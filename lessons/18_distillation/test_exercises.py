"""The exercises of lesson 18 and their tests. Each test's docstring is the property that it asks for.

Glossary: z, the student's logits; v, the teacher's; p, q, the softened probabilities of teacher and student.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, nn, ops
from tinyopt.compress import distill, hints, teachers
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.compare import NotWritten
from tinyopt.course.lessons import load
from tinyopt.losses import cross_entropy

material = load(Path(__file__).with_name("material.py"))


def number(value, what):
    """One number, from whatever form it comes in."""
    value = value.data if isinstance(value, Tensor) else value
    if value is Ellipsis:
        raise NotWritten
    if not isinstance(value, (int, float, np.generic, np.ndarray)) or np.size(value) != 1:
        raise Wrong(f"{what} is one number.", {"yours": repr(value)[:80]})
    return float(np.squeeze(np.asarray(value, dtype=float)))


# --- 18.1 by hand --------------------------------------------------------------------------------------

exercise(
    "18.1",
    material.predict,
    hides=[distill.soften, distill.distillation_loss, ops.softmax, ops.log_softmax],
    proves="You softened two answers and found their divergence, with no computer but for a logarithm.",
)


def three_parts(ex):
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 3:
        raise Wrong("Three things are due: return p, q, divergence", {"yours": repr(answer)[:80]})
    p, q, divergence = answer
    if any(part is Ellipsis for row in (p, q) for part in np.ravel(np.array(row, dtype=object))):
        raise NotWritten
    return p, q, divergence


@task("18.1", hints=[
    "Divide each logit by T = 2, then take exp: exp(½ ln 25) = √25 = 5.",
    "The teacher's numbers are 5, 2, 1. Divide them by their sum.",
    "p = [5/8, 2/8, 1/8]. The student's numbers are 1, 2, 1.",
])  # fmt: skip
def test_softened_by_hand(ex):
    """p and q are the softmax of the logits divided by 2."""
    p, q, _ = three_parts(ex)
    material.judge_row(p, material.TEACHER, "The teacher's p")
    material.judge_row(q, material.STUDENT, "The student's q")


@task("18.1", hints=["p · ln(p/q) in each class; p/q is 2.5, 0.5, 0.5.", "5/8 · ln 2.5 + 3/8 · ln 0.5"])
def test_divergence_by_hand(ex):
    """KL(p ‖ q) = Σ p (ln p − ln q), in nats."""
    came = number(three_parts(ex)[2], "KL(p ‖ q)")
    p, q = material.slow_soften(material.TEACHER, 2.0), material.slow_soften(material.STUDENT, 2.0)
    due = ex.reference()[2]
    facts = {"yours": f"{came:.6g}", "due": f"{due:.4f}"}
    recognise(came, material.divergence_mistakes(p, q), facts, atol=2e-3)
    same(came, due, "KL(p ‖ q)", rtol=0, atol=2e-3)


# --- 18.2 soften -----------------------------------------------------------------------------------------

exercise(
    "18.2",
    distill.soften,
    hides=[ops.softmax, ops.log_softmax],
    proves="Your function shows the teacher's doubts at any temperature, and does not overflow.",
)


def softened(ex, logits, temperature):
    """The answer as an array of floats."""
    logits = np.array(logits, dtype=float)
    before = logits.copy()
    with np.errstate(all="ignore"):
        came = ex(logits, temperature)
    if not np.array_equal(logits, before):
        raise Wrong("It changes the logits that it was given. Make a new array.")
    return came.data if isinstance(came, Tensor) else came


@task("18.2", hints=[
    "First scaled = logits / temperature. Then exp, then divide by the sum.",
    "At T = 2, the logits ln 16, ln 4, 0 give 4/7, 2/7, 1/7.",
])  # fmt: skip
def test_soften_one_row(ex):
    """Divide by T, take exp, divide by the sum."""
    z = np.log([16.0, 4.0, 1.0])
    came = softened(ex, z, 2)
    mistakes = (
        ([256, 16, 1], 273, "The logits were multiplied by T. Divide: a higher T makes them more equal."),
        ([16, 4, 1], 21, "The temperature has no effect. Divide the logits by it, before exp."),
        ([16, 4, 1], 42, "The probabilities were divided by T. Divide the logits, before exp."),
        ([4, 2, 1], 1, "It does not sum to 1. Divide by the sum."),
        ([4, 2, 1], 4, "It does not sum to 1. Divide by the sum."),
        (np.log([4 / 7, 2 / 7, 1 / 7]), 1, "These are log-probabilities. The probabilities are due."),
    )
    for parts, total, says in mistakes:
        if np.shape(came) == (3,) and np.allclose(came, np.array(parts) / total):
            raise Wrong(says, {"yours": np.round(came, 4).tolist(), "due": "[4/7, 2/7, 1/7]"})
    same(came, np.array([4, 2, 1]) / 7, "p for the logits ln 16, ln 4, 0 at T = 2")
    same(softened(ex, z, 1), np.array([16, 4, 1]) / 21, "p at T = 1")
    same(softened(ex, z, 0.5), np.array([256, 16, 1]) / 273, "p at T = 1/2")


@task("18.2", hints=["Sum over the last axis only, and keep it: .sum(axis=-1, keepdims=True)."])
def test_soften_many_rows(ex):
    """Each row is a softmax of its own, whatever axes stand before it."""
    logits = np.random.default_rng(0).normal(size=(3, 4)) * 3
    came = softened(ex, logits, 4.0)
    due = [material.slow_soften(row, 4.0) for row in logits]
    if np.shape(came) == (3, 4) and np.allclose(np.sum(came), 1):
        raise Wrong("All rows together sum to 1. Each row must: sum over the last axis.")
    if np.shape(came) == (3, 4) and np.allclose(np.sum(came, axis=0), 1):
        raise Wrong("The columns sum to 1, but the classes stand in the rows: take the last axis.")
    same(came, due, "p of three rows")
    same(softened(ex, logits.reshape(3, 1, 4), 4.0), np.reshape(due, (3, 1, 4)), "p of logits (3, 1, 4)")


@task("18.2", hints=[
    "exp(1200) is infinity. Subtract the largest number of each row before exp.",
    "scaled - scaled.max(axis=-1, keepdims=True): the largest is then 0, and exp(0) = 1.",
])  # fmt: skip
def test_soften_does_not_overflow(ex):
    """Large logits do no harm, and each row has its own largest number."""
    for logits in ([6000.0, 5990.0], [-6000.0, -5990.0], [[6000.0, 5990.0], [-6000.0, -5990.0]]):
        came = softened(ex, logits, 5.0)
        due = np.reshape([material.slow_soften(row, 5.0) for row in np.atleast_2d(logits)], np.shape(logits))
        if np.shape(came) == np.shape(due) and not np.isfinite(np.asarray(came, dtype=float)).all():
            says = "There is a NaN or infinity: exp overflows, or a sum is 0. Subtract the row's maximum."
            if np.isfinite(np.asarray(softened(ex, logits, 1.0), dtype=float)).all():
                says = "At T = 1 it is finite, at T = 5 not: z / T needs its own maximum, that of z / T."
            raise Wrong(says, {"logits": logits, "T": 5})
        same(came, due, f"p of the logits {logits} at T = 5")


# --- 18.3 the loss -----------------------------------------------------------------------------------------

exercise(
    "18.3",
    distill.distillation_loss,
    proves="Your loss teaches: its gradient pulls each of the student's logits towards the teacher's.",
)


def loss_of(ex, z, v, y, **settings):
    came = ex(Tensor(z), v, y, **settings)
    if isinstance(came, Tensor) and came.size != 1:
        raise Wrong("The loss is one number for the batch.", {"yours": f"shape {came.shape}"})
    return number(came, "The loss")


@task("18.3", points=2, hints=[
    "p = Tensor(distill.soften(z_teacher.data, temperature)): the teacher's probabilities.",
    "log_q = ops.log_softmax(student_logits * (1 / temperature)), and log_p in the same way.",
    "soft = (p * (log_p - log_q)).sum() * (temperature**2 / len(student_logits))",
])  # fmt: skip
def test_soft_term(ex):
    """With α = 1 the loss is T² · KL(p ‖ q), the mean over the images."""
    for seed, T in ((1, 3.0), (2, 1.5)):
        z, v, y = material.examples(seed)
        came, due = loss_of(ex, z, v, y, temperature=T, alpha=1.0), material.slow_loss(z, v, y, T, 1.0)
        if np.isclose(came, material.slow_loss(z, v, y, T, 0.0)):
            raise Wrong("For α = 1 it is the labels' part alone. But alpha is the teacher's share.")
        facts = {"yours": f"{came:.6g}", "due": f"{due:.6g}", "T": T}
        recognise(came, material.soft_mistakes(z, v, T), facts)
        same(came, due, f"the loss for α = 1 and T = {T}")


@task("18.3", hints=["hard = cross_entropy(student_logits, target): the labels' part, with no temperature."])
def test_hard_term(ex):
    """With α = 0 the loss is the cross-entropy of the labels, at temperature 1."""
    z, v, y = material.examples(3)
    came, due = loss_of(ex, z, v, y, temperature=3.0, alpha=0.0), material.slow_loss(z, v, y, 3.0, 0.0)
    if np.isclose(came, -np.log(distill.soften(z, 3.0))[np.arange(len(y)), y].mean()):
        raise Wrong("The labels' part was softened too. It works at T = 1: the student is used at T = 1.")
    if np.isclose(came, 9 * due):
        raise Wrong("T² multiplies the labels' part too. It belongs to the soft term alone.")
    same(came, due, "the loss for α = 0")


@task("18.3", hints=["return alpha * soft + (1 - alpha) * hard. The factor T² is a part of soft."])
def test_mixture(ex):
    """α is the teacher's share, 1 − α that of the labels; a batch twice as long has the same loss."""
    z, v, y = material.examples(4)
    for T, alpha in ((4.0, 0.9), (2.0, 0.25)):
        came = loss_of(ex, z, v, y, temperature=T, alpha=alpha)
        due = material.slow_loss(z, v, y, T, alpha)
        if np.isclose(came, material.slow_loss(z, v, y, T, 1 - alpha)):
            raise Wrong("alpha and 1 − alpha are exchanged: alpha is the teacher's share.")
        same(came, due, f"the loss for α = {alpha} and T = {T}")
    twice = [np.concatenate([part, part]) for part in (z, v, y)]
    same(loss_of(ex, *twice), material.slow_loss(z, v, y, 4.0, 0.9), "the loss of the same images twice")


@task(
    "18.3", hints=["Use ops on the tensor student_logits; and z_teacher, which is cut off, for the teacher."]
)
def test_gradient(ex):
    """∂L/∂z = α T (q − p) / N + (1 − α)(softmax(z) − one-hot) / N, and the teacher gets none."""
    z, v, y = material.examples(5)
    student, teacher, T, alpha = Tensor(z, requires_grad=True), Tensor(v, requires_grad=True), 3.0, 0.7
    loss = ex(student, teacher, y, temperature=T, alpha=alpha)
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        raise Wrong("Its graph does not reach the student's logits. Use ops on the tensor student_logits.")
    loss.backward()
    if teacher.grad is not None:
        raise Wrong("The teacher gets a gradient. It is a constant here: use z_teacher, which is cut off.")
    soft = T * (distill.soften(z, T) - distill.soften(v, T))
    hard = distill.soften(z, 1) - np.eye(z.shape[1])[y]
    same(student.grad, (alpha * soft + (1 - alpha) * hard) / len(y), "the gradient of the student's logits")


@task("18.3", hints=["log p: ops.log_softmax(z_teacher * (1 / temperature)), not the logarithm of p."])
def test_sure_teacher(ex):
    """A teacher that is very sure has probabilities of 0; 0 · log 0 must not make a NaN."""
    z, v = np.zeros((1, 3)), np.array([[5000.0, 0.0, -5000.0]])
    with np.errstate(all="ignore"):
        came = loss_of(ex, z, v, np.array([0]), temperature=2.0, alpha=1.0)
    if not np.isfinite(came):
        raise Wrong("It is NaN or infinite: p is 0 there, and log 0 is −∞. Make log p by log_softmax.")
    same(came, 4 * np.log(3), "the loss of a student that knows nothing, with a teacher that is sure")


# --- 18.6 attention_map ------------------------------------------------------------------------------------

exercise(
    "18.6",
    hints.attention_map,
    proves="Your maps say where a layer looks, and a student was taught to look there.",
)


def mapped(ex, features, **settings):
    """The maps as an array of floats."""
    with np.errstate(all="ignore"):
        came = ex(Tensor(np.array(features, dtype=float)), **settings)
    if came is Ellipsis:
        raise NotWritten
    came = came.data if isinstance(came, Tensor) else np.asarray(came)
    if np.shape(came) == (len(features), *np.shape(features)[2:]):
        raise Wrong("The map is still a picture, (N, H, W). Lay its pixels in a row: reshape to (N, H·W).")
    return came


@task("18.6", hints=[
    "abs(features) ** power, then .sum(axis=1): the channels are axis 1.",
    "The length of Q is the root of the sum of its squares: 3² + 4² = 5².",
])  # fmt: skip
def test_attention_by_hand(ex):
    """Three channels and two pixels, (1, −1, 1) and (2, 0, 0): Q = (3, 4), and the map is (0.6, 0.8)."""
    for power, signs in ((2, 1), (3, -1)):
        A = np.array([[1.0, 2.0], [-1.0, 0.0], [1.0, 0.0]]).reshape(1, 3, 1, 2) * [1, signs]
        came, due = mapped(ex, A, power=power), material.slow_attention(A, power)
        facts = {"yours": np.round(came, 4).tolist(), "due": due.round(4).tolist(), "power": power}
        recognise(came, material.attention_mistakes(A, power), facts, due=due)
        same(came, due, f"the map for power = {power}")


@task("18.6", hints=["reshape(len(features), -1) after the sum; the length: sum(axis=1, keepdims=True)."])
def test_attention_of_each_image(ex):
    """Each image has a map of its own, (N, H·W), of length 1, however many channels there are."""
    A = np.random.default_rng(0).normal(size=(3, 4, 2, 5))
    came, due = mapped(ex, A), material.slow_attention(A, 2)
    recognise(came, material.attention_mistakes(A, 2), due=due)
    same(came, due, "the maps of three images")


@task("18.6", hints=["ops.maximum(sum_of_squares, 1e-24) ** 0.5 is never 0."])
def test_silent_layer(ex):
    """A layer that is silent for an image has a map of zeros, and no gradient that is NaN."""
    A = np.ones((2, 3, 2, 2))
    A[0] = 0
    came = mapped(ex, A)
    if not np.isfinite(came).all():
        raise Wrong(
            "A silent layer's map is NaN: 0/0. The length must not be 0: ops.maximum(..., 1e-24) ** 0.5."
        )
    same(came, np.array([[0] * 4, [0.5] * 4]), "the map of a silent and of an even layer", atol=1e-6)


@task("18.6", hints=["Use abs, **, sum and reshape of the tensor itself: no .data, no .numpy()."])
def test_attention_teaches(ex):
    """The map is a tensor: its gradient reaches the features, and agrees with central differences."""
    A, w = np.random.default_rng(1).normal(size=(2, 3, 2, 2)), np.random.default_rng(2).normal(size=(2, 4))
    x = Tensor(A, requires_grad=True)
    came = ex(x)
    if came is Ellipsis:
        raise NotWritten
    if not isinstance(came, Tensor) or not came.requires_grad:
        raise Wrong(
            "Its graph does not reach the features: nothing can be learned from it. Use ops on the tensor."
        )
    (came * Tensor(w)).sum().backward()
    due = material.slopes(lambda a: float((material.slow_attention(a, 2) * w).sum()), A)
    same(x.grad, due, "the gradient of the features", rtol=1e-4, atol=1e-6)


@task("18.6")
def test_attention_runs_inside_the_package(ex):
    """With your function inside, a layer whose channels are doubled looks where it looked before."""
    A = np.random.default_rng(3).normal(size=(2, 3, 4, 4))
    with ex.installed():
        twice = hints.attention_loss(Tensor(np.concatenate([A, A], axis=1)), A).item()
    same(twice, 0, "attention_loss of A and of A with each channel twice", atol=1e-9)


# --- 18.7 mutual_losses ------------------------------------------------------------------------------------

exercise(
    "18.7",
    teachers.mutual_losses,
    proves="Your losses let students teach each other, and the control showed what that is worth.",
)


def cohort_of(n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4, 5)) * 2, rng.integers(0, 5, size=4)


def losses_of(ex, z, y):
    came = ex([Tensor(one) for one in z], y)
    if not isinstance(came, (list, tuple)) or len(came) != len(z):
        raise Wrong("A list is due: one loss for each student.", {"yours": type(came).__name__})
    return [number(one, "A student's loss") for one in came]


@task("18.7", hints=[
    "The other student's probabilities are p[j], j != k.",
    "teachers.divergence(z, p[j]) is KL(p_j ‖ p_k): z is the learner, p[j] the teacher.",
])  # fmt: skip
def test_two_students(ex):
    """Each of two students has the labels' loss, and KL from the other."""
    z, y = cohort_of(2, 0)
    came, due = losses_of(ex, z, y), material.slow_mutual(z, y)
    recognise(came, material.mutual_mistakes(z, y), {"yours": np.round(came, 4).tolist()}, due=due)
    same(came, due, "the losses of two students")


@task("18.7", hints=["Divide the sum by K − 1: so many others there are. For two students that is 1."])
def test_three_students(ex):
    """Of three, each hears the mean of the two others' divergences."""
    z, y = cohort_of(3, 1)
    came, due = losses_of(ex, z, y), material.slow_mutual(z, y)
    recognise(came, material.mutual_mistakes(z, y), {"yours": np.round(came, 4).tolist()}, due=due)
    same(came, due, "the losses of three students")


@task("18.7", points=2, hints=["p[j] is an array, and carries no graph. The logits of the others do."])
def test_only_the_learner_moves(ex):
    """The loss of student k moves student k alone: the others' answers are constants in it."""
    z, y = cohort_of(3, 2)
    students = [Tensor(one, requires_grad=True) for one in z]
    came = ex(students, y)[0]
    if came is Ellipsis:
        raise NotWritten
    if not isinstance(came, Tensor) or not came.requires_grad:
        raise Wrong("The graph of the loss does not reach the student's logits. Use ops on the tensor z.")
    came.backward()
    if any(one.grad is not None and abs(one.grad).max() > 0 for one in students[1:]):
        raise Wrong("The loss of student 1 has a gradient for the others, too. Their p is a constant in it.")
    p = distill.soften(z, 1)
    due = (p[0] - np.eye(5)[y] + p[0] - (p[1] + p[2]) / 2) / len(y)
    same(students[0].grad, due, "the gradient of student 1")


@task("18.7")
def test_mutual_runs_inside_the_package(ex):
    """With your function inside, students that already agree have only the labels' loss."""
    net = nn.Sequential(nn.Linear(3, 5, rng=0))
    cohort, x, y = teachers.Cohort(net, net), np.ones((2, 3), dtype=np.float32), np.array([0, 3])
    with ex.installed():
        came = teachers.mutually(cohort, Tensor(x), y)[0]
    same(
        number(came, "The sum"),
        2 * cross_entropy(net(Tensor(x)), y).item(),
        "the sum of both losses",
        rtol=1e-5,
    )


# --- 18.4 freeze -------------------------------------------------------------------------------------------

exercise(
    "18.4",
    distill.freeze,
    proves="You decide which layers learn. Your function froze the trunk of a transfer.",
)


@task("18.4", points=2, hints=[
    "for name, parameter in model.named_parameters(): parameter.requires_grad = ...",
    "A name is in a layer `part` if name == part, or name.startswith(part + '.').",
    "any(name == part or name.startswith(part + '.') for part in but)",
])  # fmt: skip
def test_freeze_all_but_some(ex):
    """Only parameters of the layers named in `but` have requires_grad; names must fit as a whole."""
    for but, due in material.CASES:
        model = material.network()
        ex(model, but=but)
        material.judge_frozen(model, due, but)


@task("18.4", hints=["Assign True or False to every parameter, not only False."])
def test_freeze_again(ex):
    """A second call with other names unfreezes them, and freezes those of the first."""
    model = material.network()
    ex(model, but=("head",))
    ex(model, but=("fc1",))
    if not model.get("fc1.weight").requires_grad:
        raise Wrong("A layer that was frozen before stays frozen. It must learn again if it is named now.")
    material.judge_frozen(model, {"fc1.weight", "fc1.bias"}, ("fc1",))


@task("18.4", hints=["Add parameter.data.size for each parameter that is still trained."])
def test_freeze_counts(ex):
    """It returns how many weights are still trained; with an empty `but`, 0."""
    for but, due in ((("head",), 6), (("body",), 27), ((), 0)):
        came = number(ex(material.network(), but=but), "The count")
        if but and came == sum(p.size for p in material.network().parameters()):
            raise Wrong("These are all weights. Count only those that are trained.")
        if but and came == 2 * len(but):
            raise Wrong("You counted arrays. Count the numbers in them: parameter.data.size.")
        same(came, due, f"the count for but={but}")


# --- 18.5 explain this failure -----------------------------------------------------------------------------

exercise(
    "18.5",
    material.witness,
    proves="Without T² the teacher had a tenth of the say. The friend's report was wrong, the code ran well.",
)


@task("18.5", points=2, hints=[
    "Only the ratio of the two terms matters. The friend's is 0.5 : 0.5.",
    "In the right loss it is α T² : (1 − α), with T² = 9.",
    "9 α = 1 − α.",
])  # fmt: skip
def test_real_alpha(ex):
    """α T² : (1 − α) is the friend's ratio of the two terms, so both losses pull in one direction."""
    came = number(ex(), "α")
    T, a = material.FRIEND["temperature"], material.FRIEND["alpha"]
    recognise(came, {
        "That is the α that the friend wrote down. Without T², the teacher's part is 9 times smaller.": a,
        "The teacher's part is 0.5/9, the labels' 0.5. They should sum to 1: divide by their sum.": a / T**2,
        "Turned round: that is the labels' share. Without T² the teacher says less.": 1 - 1 / (1 + T**2),
        "You used T. The factor is T².": a / (a + T * (1 - a)),
        "You used T, and the two parts should sum to 1. The factor is T².": a / T,
        "That is the ratio α : (1 − α), 1 to 9. α itself is one part of ten.": 1 / T**2,
    }, {"yours": f"{came:.6g}"}, atol=1e-4)  # fmt: skip
    if not 0 <= came <= 1:
        raise Wrong("α is a share, between 0 and 1.", {"yours": f"{came:.4g}"})
    student, teacher, target = material.examples(6)
    loss, batch = distill.distillation_loss, (student, teacher, target)
    soft, hard = (material.gradient(loss, *batch, temperature=T, alpha=k) for k in (1, 0))
    right, friend = came * soft + (1 - came) * hard, a * soft / T**2 + (1 - a) * hard
    cosine = float((right * friend).sum() / np.linalg.norm(right) / np.linalg.norm(friend))
    if cosine < 1 - 1e-5:
        says = "The two gradients point in different directions. Only the ratio of the terms matters."
        raise Wrong(says, {"yours": f"{came:.4g}", "cosine of the two gradients": f"{cosine:.5f}"})
    same(came, ex.reference(), "α", rtol=0, atol=5e-3)
