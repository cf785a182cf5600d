"""What a teacher shows beside its probabilities: its logits, the numbers inside it, and where it looks.

Start with these three: `squared_distance`, of logits or of hints; `attention_map`; `attention_loss`. Each is a function
of tensors; `mimics`, `hinted` and `attends` make of them the objectives that `train.fit` minimises.

    train.fit(student, digits, objective=mimics(teacher))                                logits
    fit_hints(student, teacher, digits, hint="conv2", guided="conv2")                    then train on, with `taught_by`
    train.fit(student, digits, objective=attends(teacher, {"pool1": "pool1"}))           maps of attention

A layer's output is read with `measure.capture`: no model has to be rewritten in order to be looked into.
"""

import math

from tinyopt.compress.distill import freeze, freeze_norms, made
from tinyopt.data import DataLoader
from tinyopt.errors import ShapeError
from tinyopt.measure import capture, inference
from tinyopt.nn import Conv2d, Linear, Module
from tinyopt.optim import Adam
from tinyopt.tensor import OPS, Tensor
from tinyopt.train import classify, fit

# --- functions of tensors ---------------------------------------------------------------------------------


def squared_distance(student, teacher):
    """Half the squared distance between what the student makes and what the teacher makes, for each example.

        L = 1/(2N) · Σ (s − t)²        ∂L/∂s = (s − t) / N

    Of logits: no softmax hides how they lie, so that a class with p = 1e-6 still says as much as one with p = 0.6.
    It is what `distillation_loss` tends to at high temperatures. Of hints: s is the regressor's guess at t.

    Shapes: student, a tensor (N, ...); teacher, a tensor or an array of the same shape, cut off from its graph
            -> L, a number.
    Raises: ShapeError if the shapes differ: of logits, that is other classes; of hints, a regressor that does not fit.
    Source: Ba & Caruana (2014), "Do Deep Nets Really Need to be Deep?", arXiv:1312.6184, Section 2, for logits;
            Romero et al. (2015), "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, Section 2.2, for hints.
    """
    teacher = _cut(teacher)
    if student.shape != teacher.shape or student.ndim == 0 or student.size == 0:
        raise ShapeError(
            f"student and teacher are compared number by number; got {student.shape} and {teacher.shape}. Logits need "
            "the same classes, hints a regressor with the teacher's shape"
        )
    return ((student - teacher) ** 2).sum() * (0.5 / len(student))


def attention_map(features, *, power=2):
    """Where in the image a layer is active: one map of length 1 for each image.

        Q = Σ over channels of |A|^power        map = Q / max(‖Q‖₂, 1e-12): a silent layer's map is 0

    Shapes: features A (N, C, H, W) -> map (N, H·W), however many channels there were.
    Units:  power, 1 or more; a higher one looks at the strongest channels only.
    Raises: ShapeError for features that are no maps; ValueError for another power.
    Source: Zagoruyko & Komodakis (2017), "Paying More Attention to Attention", arXiv:1612.03928, Section 3.1.
    """
    if not power >= 1:
        raise ValueError(f"power is an exponent of 1 or more (2: the energy of each pixel); got {power}")
    if features.ndim != 4:
        raise ShapeError(
            f"attention needs maps (N, C, H, W); got {features.shape}. Name a convolution, a norm or a pooling"
        )
    energy = (abs(features) ** power).sum(axis=1).reshape(len(features), -1)
    length = OPS["maximum"]((energy**2).sum(axis=1, keepdims=True), 1e-24) ** 0.5
    return energy / length


def attention_loss(student, teacher, *, power=2):
    """How far apart two layers look.

        L = mean over images and pixels of (map_student − map_teacher)²

    Shapes: student, a tensor (N, C, H, W); teacher, a tensor or an array (N, C′, H, W), cut off from its graph
            -> L, a number.
    Raises: ShapeError if the images or their pixels differ in number; the channels may.
    Source: Zagoruyko & Komodakis (2017), "Paying More Attention to Attention", arXiv:1612.03928, Equation 2.
    Differs: there, the distance itself; in the authors' published code, as here, the mean of its square, which
            has a gradient where both agree.
    """
    teacher = _cut(teacher)
    pair = [(*part.shape[:1], *part.shape[2:]) for part in (student, teacher)]
    if pair[0] != pair[1]:
        raise ShapeError(
            f"two maps of attention need the same N, H and W; got {student.shape} and {teacher.shape}. Compare layers "
            "that see the image at the same size"
        )
    return ((attention_map(student, power=power) - attention_map(teacher, power=power)) ** 2).mean()


def _cut(value):
    """Numbers without their graph, as a tensor."""
    return value.detach() if isinstance(value, Tensor) else Tensor(value)


# --- objectives for `train.fit` ---------------------------------------------------------------------------


def mimics(teacher):
    """An objective: the student's logits approach the teacher's. No label is read, so the images need none.

    `teacher` is a model with as many classes.
    """

    def objective(student, images, labels):
        with inference(teacher):
            answer = teacher(images)
        logits = student(images)
        return squared_distance(logits, answer), logits

    return objective


def attends(teacher, layers, *, beta=1e3, power=2, objective=classify):
    """An objective: do as `objective` says, and look where the teacher looks.

        L = objective + β · Σ over pairs of attention_loss

    Shapes: layers, {name in the student: name in the teacher}.
    Units:  beta of 0 or more; maps have length 1, so each loss is small, and β = 1000 is the authors' choice.
            `objective`, such as `taught_by(teacher)`, says the rest.
    Raises: ValueError for a negative beta, or no pair; KeyError that lists the names there are.
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta weighs attention against the objective, 0 or more and finite; got {beta}")
    if not layers:
        raise ValueError("layers names the pairs to compare, {name in the student: name in the teacher}; got none")

    def both(student, images, labels):
        with inference(teacher), capture(teacher) as seen:
            teacher(images)
        with capture(student) as own:
            loss, logits = objective(student, images, labels)
        for mine, theirs in layers.items():
            loss = loss + attention_loss(own[mine].output, seen[theirs].output, power=power) * beta
        return loss, logits

    return both


class Guided(Module):
    """A student with a regressor, which guesses a teacher's hint from one of its layers. It answers as the student.

    Both train together, and are saved in one checkpoint; afterwards the regressor is thrown away.
    """

    def __init__(self, student, regressor):
        self.student, self.regressor = student, regressor

    def forward(self, x):
        return self.student(x)


def hinted(teacher, hint, guided):
    """For a `Guided` student, an objective: the regressor's guess from layer `guided` nears the teacher's `hint`."""

    def objective(model, images, labels):
        with inference(teacher), capture(teacher) as seen:
            teacher(images)
        with capture(model.student) as own:
            logits = model(images)
        return squared_distance(model.regressor(own[guided].output), seen[hint].output), logits

    return objective


def regressor(guided, hint, rng=None):
    """The layer that guesses a hint from a guided layer: dense, or a convolution that leaves as many pixels.

        kernel = H_guided − H_hint + 1        in height and in width, without padding

    Shapes: guided, hint: the shapes of two outputs, both (N, D) or both (N, C, H, W).
    Raises: ShapeError if one has pixels and the other none, or the hint has more.
    Source: Romero et al. (2015), "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, Section 2.2.
    """
    if len(guided) == len(hint) == 2:
        return Linear(guided[1], hint[1], rng=rng)
    if not len(guided) == len(hint) == 4 or guided[2] < hint[2] or guided[3] < hint[3]:
        raise ShapeError(
            "hint and guided layer are both (N, D), or both (N, C, H, W) and the hint has no more pixels; got hint "
            f"{tuple(hint)} and guided {tuple(guided)}. Choose another pair of layers"
        )
    kernel = guided[2] - hint[2] + 1, guided[3] - hint[3] + 1
    return Conv2d(guided[1], hint[1], kernel, rng=rng)


def fit_hints(student, teacher, data, *, hint, guided, rng=None, optimizer=Adam, **settings):
    """FitNets' first stage: train the student up to layer `guided`, to guess the teacher's layer `hint` from it.

    The layers behind are frozen meanwhile, and none stays frozen that was not before. In the second stage the
    whole student is trained from here on, with `taught_by(teacher)`. `optimizer` makes one from parameters, the
    regressor's too, such as `lambda params: SGD(params, lr=0.1)`; `settings` go to `train.fit`.

    Shapes: data as `train.fit` takes it. Returns its history; the loss in it is that of the hints.
    Raises: KeyError that lists the names there are, for a layer that did not run; ShapeError as `regressor`.
    Source: Romero et al. (2015), "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550, Algorithm 1.
    """
    where = settings.get("device", "cpu")
    images, _ = next(iter(DataLoader(data.train if hasattr(data, "train") else data[0], 2, device=where)))
    with inference(teacher.to(where)), capture(teacher) as seen:
        teacher(images)
    with inference(student.to(where)), capture(student) as own:
        student(images)
    model = Guided(student, regressor(own[guided].output.shape, seen[hint].output.shape, rng).to(where))
    before = {parameter: parameter.requires_grad for parameter in student.parameters()}
    freeze(model, but=_reached(model, images, guided))
    try:
        trained = made(optimizer, model)
        return fit(model, data, objective=hinted(teacher, hint, guided), optimizer=trained, **settings)
    finally:
        for parameter, wanted in before.items():
            parameter.requires_grad, parameter.grad = wanted, None
        freeze_norms(student)


def _reached(model, images, guided):
    """The names of the parameters on which the regressor's guess depends: those to which its gradient comes."""
    model.zero_grad()
    model.eval()  # so that no batch norm counts these images
    with capture(model.student) as own:
        model(images)
    model.regressor(own[guided].output).sum().backward()
    return [name for name, parameter in model.named_parameters() if parameter.grad is not None]
