"""Distillation and transfer: a small network learns from a large one's probabilities, or keeps a part of it.

Start with these three: `soften`, `distillation_loss`, and `taught_by`, which makes of it an objective for `train.fit`:

    train.fit(student, digits, objective=taught_by(teacher))
    compress.prune(model, 0.9)                                               or `qat = prepare_qat(model, digits.train)`
    train.fit(model, digits, objective=taught_by(before, temperature=1))     with `callbacks=[qat]`; zeros stay zeros
    new = transfer(model, 5)                                                 5 other classes: a new head, all else frozen
"""

import copy
import math

import numpy as np

from tinyopt.autograd import no_grad
from tinyopt.errors import ShapeError
from tinyopt.losses import cross_entropy
from tinyopt.nn import BatchNorm1d, BatchNorm2d, Linear
from tinyopt.optim import Optimizer
from tinyopt.tensor import OPS, Tensor


def soften(logits, temperature):
    """Turn logits into probabilities; a temperature above 1 makes them more even.

        p = softmax(z / T) = exp(z / T) / Σ exp(z / T)        over the last axis

    T = 1 is the usual softmax. As T → ∞ all classes become equally likely, as T → 0 the largest takes all.

    Shapes: logits (..., C), an array -> p, same shape; each row sums to 1.
    Raises: ValueError unless temperature is above 0, and finite.
    Source: Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network",
            arXiv:1503.02531, Equation 1.
    """
    check_teaching(temperature)
    scaled = logits / float(temperature)
    p = np.exp(scaled - scaled.max(axis=-1, keepdims=True))  # the largest is now exp(0): no overflow
    return p / p.sum(axis=-1, keepdims=True)


def distillation_loss(student_logits, teacher_logits, target, *, temperature=4.0, alpha=0.9):
    """Match the teacher's softened probabilities and the labels.

        p = softmax(z_teacher / T)        q = softmax(z_student / T)
        L = α T² · KL(p ‖ q) + (1 − α) · cross_entropy(z_student, labels)        KL = Σ p (log p − log q)
        ∂L/∂z_student = α T (q − p) + (1 − α) (softmax(z_student) − one-hot)     each over N

    A high T shows which wrong classes the teacher finds likely. The gradient of KL itself falls as 1/T²:
    one 1/T from z / T, one since p and q grow alike. T² undoes it, so that α means the same at every T.

    Shapes: logits (N, C) both, the teacher's as a tensor or an array; target (N,) integers, or (N, C)
            probabilities, or None if alpha is 1, which reads no label -> L, a number.
    Units:  nats; temperature > 0; alpha in [0, 1] is the teacher's share.
    Raises: ValueError for other temperatures and alphas; ShapeError if the class counts differ.
    Source: Hinton, Vinyals & Dean (2015), "Distilling the Knowledge in a Neural Network",
            arXiv:1503.02531, Section 2.
    """
    check_teaching(temperature, alpha)
    teacher_logits = Tensor(teacher_logits)  # cut off from its graph
    check_same_classes(teacher_logits.shape, student_logits.shape)
    p = Tensor(soften(teacher_logits.data, temperature))
    log_p = OPS["log_softmax"](teacher_logits * (1 / temperature))  # where p is 0, its log would be −∞
    log_q = OPS["log_softmax"](student_logits * (1 / temperature))
    loss = (p * (log_p - log_q)).sum() * (alpha * temperature**2 / len(student_logits))
    return loss if alpha == 1 else loss + cross_entropy(student_logits, target) * (1 - alpha)


def check_teaching(temperature, alpha=1.0):
    """Refuse a temperature that is not above 0, or not finite, and an alpha outside [0, 1]."""
    if not _is_number(temperature) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature is above 0 and finite (1 changes nothing); got {temperature!r}")
    if not _is_number(alpha) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the teacher's share of the loss, in [0, 1]; got {alpha!r}")


def _is_number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def check_same_classes(teacher, student):
    """Refuse two shapes of answers that are not alike, or hold none."""
    if teacher != student:
        raise ShapeError(
            f"teacher and student need the same classes; got {teacher} and {student}. A teacher that was "
            "fitted without some class has no column for it"
        )
    if len(student) != 2 or 0 in student:
        raise ShapeError(f"teacher and student answer (N, C) numbers, for N of 1 or more; got {student}")


def made(optimizer, model):
    """The optimizer of a stage, from what makes one: a class, or `lambda params: SGD(params, lr=0.1)`."""
    if isinstance(optimizer, Optimizer):
        raise TypeError(
            f"each stage makes its own optimizer; got one that is made, {type(optimizer).__name__}. Give a function "
            f"of parameters: optimizer=lambda params: {type(optimizer).__name__}(params, lr={optimizer.lr})"
        )
    return optimizer(model.parameters())


def taught_by(teacher, *, temperature=4.0, alpha=0.9):
    """An objective for `train.fit`: the student is shown the teacher's logits for each batch.

    `teacher` is a model, put in eval mode here, or any function from images to logits. One that gives
    probabilities, as other libraries' do, teaches by `teachers.taught_from`.

    Raises: ValueError for other temperatures and alphas, and for a teacher that gives probabilities.
    """
    check_teaching(temperature, alpha)
    if hasattr(teacher, "eval"):
        teacher.eval()

    def objective(student, images, labels):
        with no_grad():
            answer = Tensor(teacher(images)).astype(images.dtype)
        _check_logits(answer.data)
        logits = student(images)
        return distillation_loss(logits, answer, labels, temperature=temperature, alpha=alpha), logits

    return objective


def _check_logits(z):
    """Rows of 0 or more that all sum to 1 are no logits; on a GPU the question would wait."""
    if type(z) is np.ndarray and z.ndim == 2 and z.min(initial=0) >= 0 and abs(z.sum(axis=1) - 1).max(initial=0) < 1e-5:
        raise ValueError("taught_by needs a teacher's logits; these are probabilities. Use teachers.taught_from")


def freeze(model, *, but=()):
    """Train only the layers named in `but`: all other parameters get no gradient, and no optimizer moves them.

        requires_grad = the parameter is one of `but`, or lies in a layer of `but`

    Call it again for another choice: layers named then are trained again. Nothing is removed from the model.

    Shapes: but, names of layers or parameters, such as ("fc2",).
    Units:  returns the number of weights that are still trained.
    Raises: KeyError that lists the names there are, for one that is not among them.
    Differs: in PyTorch, a batch norm whose parameters are frozen still follows the data in training. Here it is
            frozen as a whole: it normalises by its running averages, and these stay. A file does not say what is
            frozen: after `load`, all is trained.
    """
    if isinstance(but, str):
        but = (but,)
    for name in but:
        model.get(name)
    trained = 0
    for name, parameter in model.named_parameters():
        parameter.requires_grad = any(name == part or name.startswith(part + ".") for part in but)
        trained += parameter.data.size * parameter.requires_grad
        parameter.grad = None
    freeze_norms(model)
    return trained


def freeze_norms(model):
    """Freeze the batch norms of which no parameter is trained, and no other."""
    for layer in model.modules():
        if isinstance(layer, (BatchNorm1d, BatchNorm2d)):
            layer.frozen = not any(parameter.requires_grad for parameter in layer.parameters())


def transfer(model, n_classes, rng=None):
    """A copy of a trained classifier for other classes: the last layer is new, all others are frozen.

    The last layer is the head; what stands before it, the trunk, turns an image into features.

    Raises: ValueError if the model's last layer with weights is no `Linear`.
    """
    model = copy.deepcopy(model)
    layers = [(name, layer) for name, layer in model.named_modules() if getattr(layer, "weight", None) is not None]
    if not layers:
        raise ValueError("transfer replaces the last layer; this model has no layer with weights")
    name, last = layers[-1]
    if type(last) is not Linear:
        raise ValueError(f"transfer replaces a last layer that is Linear; {name} is a {type(last).__name__}")
    head = Linear(last.in_features, n_classes, bias=last.bias is not None, rng=rng)
    model.replace(name, head.to(last.weight.device))
    freeze(model, but=(name,))
    return model
