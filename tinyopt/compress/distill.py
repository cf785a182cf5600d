"""Distillation: a small network learns from a large one's probabilities, not only from the labels.

Start with `distillation_loss`; `taught_by` makes of it the objective that `train.fit` minimises.
"""

from tinyopt.autograd import no_grad
from tinyopt.errors import ShapeError
from tinyopt.losses import cross_entropy
from tinyopt.tensor import OPS, Tensor


def distillation_loss(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    """Match the teacher's softened probabilities and the labels.

        p = softmax(z_teacher / T)        q = softmax(z_student / T)
        L = α T² · KL(p ‖ q) + (1 − α) · cross_entropy(z_student, labels)

    A high T shows which wrong classes the teacher finds likely. The gradient of the first term falls as
    1/T², which T² undoes, so that α means the same at every T.

    Shapes: logits (N, C) both, the teacher's as a tensor or an array; target (N,) integers, or (N, C)
            probabilities -> L, a number.
    Units:  nats; temperature > 0; alpha in [0, 1] is the teacher's share.
    Raises: ValueError for other temperatures and alphas; ShapeError if the class counts differ.
    Source: Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network",
            arXiv:1503.02531, Section 2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is above 0 (1 leaves the logits as they are); got {temperature}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the teacher's share of the loss, in [0, 1]; got {alpha}")
    teacher_logits = Tensor(teacher_logits)  # cut off from its graph
    if student_logits.shape != teacher_logits.shape:
        raise ShapeError(
            f"teacher and student need the same classes; got {teacher_logits.shape} and {student_logits.shape}"
        )
    log_p = OPS["log_softmax"](teacher_logits * (1 / temperature))
    log_q = OPS["log_softmax"](student_logits * (1 / temperature))
    divergence = (log_p.exp() * (log_p - log_q)).sum() * (1 / len(student_logits))
    return divergence * (alpha * temperature**2) + cross_entropy(student_logits, target) * (1 - alpha)


def taught_by(teacher, *, temperature=4.0, alpha=0.9):
    """An objective for `train.fit`: the student is shown the teacher's logits for each batch.

    `teacher` is a model, put in eval mode here, or any function from images to logits.
    """
    if hasattr(teacher, "eval"):
        teacher.eval()

    def objective(student, images, labels):
        with no_grad():
            answer = teacher(images)
        logits = student(images)
        return distillation_loss(logits, answer, labels, temperature=temperature, alpha=alpha), logits

    return objective
