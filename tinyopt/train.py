"""The training loop: `fit`. Read `Run.fit` first; it is the loop, and all else serves it.

Progress, early stopping and checkpoints are callbacks (`callbacks.py`) that join at named moments.
"""

import math
import time

import numpy as np

from tinyopt import backend, measure
from tinyopt.autograd import no_grad
from tinyopt.callbacks import Checkpoint, EarlyStopping, Progress
from tinyopt.data import DataLoader, Part
from tinyopt.errors import TrainingDiverged
from tinyopt.losses import cross_entropy
from tinyopt.measure import evaluate
from tinyopt.optim import Adam, Optimizer

MOMENTS = ("before_fit", "before_epoch", "after_backward", "after_step", "after_epoch", "after_fit")


def classify(model, images, labels):
    """The usual objective: (cross-entropy, logits). Another one may take any model and batch to (loss, outputs)."""
    logits = model(images)
    return cross_entropy(logits, labels), logits


def cosine(progress):
    """A schedule: lr falls from its start to 0 along half a cosine; `progress` runs from 0 to 1.

        factor = (1 + cos(π · progress)) / 2

    Source: Loshchilov & Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts",
            arXiv:1608.03983, Equation 5 (one period).
    """
    return (1 + math.cos(math.pi * progress)) / 2


def fit(
    model, data, *, epochs=10, batch_size=64, optimizer=None, objective=classify, schedule=None, callbacks=(),
    patience=None, checkpoint=None, checkpoint_every=None, seed=0, device="cpu", progress=True,
):  # fmt: skip
    """Train a model and return its history: a list with one dictionary an epoch.

    Shapes: data, a Dataset (its train and val parts), or a pair of parts (train, val), or (train, None); a
            part is a pair (images, labels). Labels that are no class numbers make it a regression: its
            validation is the objective's mean, with no accuracy.
    Units:  epochs; batch_size in examples; patience in epochs without a better validation accuracy (then
            the best weights are taken back); checkpoint_every in steps.
    Start:  optimizer=None is Adam at its defaults; schedule, a function of progress in [0, 1) whose value
            multiplies lr, is constant; progress may be False, or a text to show in front.
    Raises: TypeError, ValueError, ShapeError or DtypeError for arguments or data that do not fit;
            TrainingDiverged as soon as the loss is NaN or infinite, with the step and the layer where it began.

    `checkpoint` is a path: the run's state is written there, and if the file exists the run goes on from it,
    and ends bit-equal to one that was never stopped.
    """
    if checkpoint_every is not None and not checkpoint:
        raise ValueError(f"checkpoint_every={checkpoint_every} needs a file to write to: checkpoint=path")
    callbacks = list(callbacks)
    callbacks += [EarlyStopping(patience)] if patience is not None else []
    callbacks += [Progress(progress if isinstance(progress, str) else "")] if progress else []
    saver = [Checkpoint(checkpoint, checkpoint_every)] if checkpoint else []
    run = Run(model, data, epochs, batch_size, optimizer, objective, schedule, callbacks, saver, seed, device)
    run.fit()
    return run.history


class Run:
    """One training run: what callbacks see.

    Attributes: model, optimizer, loader, val, epochs, epoch, step (since the start), n_steps, images, labels,
    outputs, loss (of the last batch), history; set `stop` to end after this epoch.
    """

    def __init__(
        self, model, data, epochs, batch_size, optimizer, objective, schedule, callbacks, savers, seed, device
    ):
        if not isinstance(epochs, (int, np.integer)) or epochs < 0:
            raise ValueError(f"epochs is a number of passes over the data, 0 or more; got {epochs!r}")
        if optimizer is not None and not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is one of tinyopt.optim, such as Adam(model.parameters()); got {optimizer!r}")
        train, self.val = _two_parts(data)
        self.loader = DataLoader(train, batch_size, shuffle=True, seed=seed, device=device)
        if self.val is not None:
            DataLoader(self.val, batch_size)  # looks at every number now, not after an epoch
        self.model, self.objective, self.schedule, self.device = model.to(device), objective, schedule, device
        self.optimizer = optimizer or Adam(model.parameters())
        self.callbacks, self.savers = callbacks, savers  # savers come last: they write what the others left
        self.base_lr = self.optimizer.lr
        self.epochs, self.n_steps = epochs, epochs * len(self.loader)
        self.epoch = self.next_epoch = self.step = self.first_batch = 0
        self.history, self.stop = [], False
        self._start_sums()

    def fit(self):
        """The loop."""
        for callback in self.savers + self.callbacks:
            self._call(callback, "before_fit")
        while self.next_epoch < self.epochs and not self.stop:
            self.epoch, start = self.next_epoch, time.perf_counter()
            self._tell("before_epoch")
            self.model.train()
            for self.images, self.labels in self.loader.batches(self.epoch, self.first_batch):
                self.train_step()
            self.history.append(self._row(time.perf_counter() - start))
            self.next_epoch, self.first_batch = self.epoch + 1, 0
            self._start_sums()
            self._tell("after_epoch")
        self._tell("after_fit")
        self.model.eval()

    def train_step(self):
        """One batch: forward, backward, update."""
        if self.schedule is not None:
            self.optimizer.lr = self.base_lr * self.schedule(self.step / self.n_steps)
        self.optimizer.zero_grad()
        loss = self._forward()
        self.loss = loss.item()  # the only transfer of a step
        if not math.isfinite(self.loss):
            raise TrainingDiverged(self._where_it_began())
        loss.backward()
        self._tell("after_backward")
        self.optimizer.step()
        self.step += 1
        self.first_batch += 1
        self._count(len(self.images))
        self._tell("after_step")

    def _forward(self):
        """The loss of the batch, as a tensor; sets `outputs`."""
        result = self.objective(self.model, self.images, self.labels)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"an objective returns (loss, outputs), two tensors; got {type(result).__name__}")
        loss, self.outputs = result
        highest, classes = self.loader.highest_label, self.outputs.shape
        if self._classifies() and highest >= classes[1]:  # a GPU would read another class without a word
            raise ValueError(f"labels must lie in [0, {classes[1]}), one for each logit of the model; got {highest}")
        return loss

    def _tell(self, moment):
        for callback in self.callbacks + self.savers:
            self._call(callback, moment)

    def _call(self, callback, moment):
        method = getattr(callback, moment, None)
        if method is not None:
            method(self)

    def _start_sums(self):
        """Sums over the batches of an epoch; `judged` counts the examples that were classified."""
        self.sums = {"loss": 0.0, "seen": 0, "correct": 0, "judged": 0}

    def _count(self, n):
        self.sums["loss"] += self.loss * n
        self.sums["seen"] += n
        if self._classifies():  # stays on the device until the epoch ends
            hits = self.outputs.data.argmax(axis=1) == self.labels.data
            self.sums["correct"] = self.sums["correct"] + hits.sum()
            self.sums["judged"] += n

    def _classifies(self):
        return self.outputs.ndim == 2 and self.labels.ndim == 1 and self.labels.dtype.kind in "iu"

    def _row(self, seconds):
        """The history's row of the epoch that just ended."""
        row = {"epoch": self.epoch + 1, "loss": self.sums["loss"] / self.sums["seen"], "lr": self.optimizer.lr}
        if self.sums["judged"]:
            row["accuracy"] = int(self.sums["correct"]) / self.sums["judged"]
        if self.val is not None and self.sums["judged"]:
            quality = evaluate(self.model, self.val)
            row |= {"val_loss": quality.loss, "val_accuracy": quality.accuracy, "val_error": quality.standard_error}
        elif self.val is not None:
            row["val_loss"] = self._validation_loss()
        return {**row, "seconds": seconds}

    def _validation_loss(self):
        """The objective's mean over the validation part: for what is no classification."""
        loader = DataLoader(self.val, self.loader.batch_size, device=self.device)
        with measure.inference(self.model):
            parts = [self.objective(self.model, x, y)[0].item() * len(x) for x, y in loader]
        return sum(parts) / loader.n_samples

    def _where_it_began(self):
        """A sentence that names the step and the first layer whose numbers are not finite."""
        place = f"the loss is {self.loss} at step {self.step + 1} (epoch {self.epoch + 1})"
        advice = f"try a smaller learning rate than {self.optimizer.lr}"
        for name, parameter in self.model.named_parameters():
            if not bool(np.isfinite(parameter.data).all()):
                return f"{place}: it began in {name}, which holds NaN or infinity; {advice}"
        with no_grad(), measure.capture(self.model) as layers:
            self.model(self.images)
        for name, layer in layers.items():
            if name and not bool(np.isfinite(layer.output.data).all()):
                return f"{place}: it began in layer {name!r}, whose output holds NaN or infinity; {advice}"
        largest = float(abs(self.outputs.data).max())
        return (
            f"{place}: every layer's output is finite, up to {largest:.1e}, so it began in the loss itself; if that "
            f"is large, {advice}, else look at the objective and the targets"
        )

    # --- what a checkpoint holds ---

    def state_dict(self):
        """All that a resumed run needs; the order of batches follows from seed and epoch."""
        return {
            "run": self._identity(),
            "position": {name: getattr(self, name) for name in ("next_epoch", "first_batch", "step", "stop")},
            "sums": {name: float(value) for name, value in self.sums.items()},
            "history": self.history,
            "base_lr": self.base_lr,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: rng.bit_generator.state for name, rng in self._generators().items()},
            "callbacks": {str(i): callback.state_dict() for i, callback in enumerate(self._stateful())},
        }

    def load_state_dict(self, state):
        """Go on from what `state_dict` gave.

        Raises: ValueError if it belongs to another run.
        """
        theirs, own = state["run"], self._identity()
        if theirs != own:
            pairs = [(key, theirs.get(key), own[key]) for key in own]
            differ = "; ".join(f"{key} {there}, here {here}" for key, there, here in pairs if there != here)
            raise ValueError(
                f"this checkpoint is of another run: it was made with {differ}. "
                "Give another path, or delete the file to start afresh"
            )
        for name, value in state["position"].items():
            setattr(self, name, value)
        self.sums, self.history, self.base_lr = state["sums"], state["history"], state["base_lr"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(_on_device(state["optimizer"], self.device))
        for name, rng in self._generators().items():
            rng.bit_generator.state = state["generators"][name]
        for i, callback in enumerate(self._stateful()):
            callback.load_state_dict(state["callbacks"][str(i)])

    def _identity(self):
        """What must be the same for a checkpoint to belong here."""
        return {
            "seed": self.loader.seed, "batch_size": self.loader.batch_size, "examples": self.loader.n_samples,
            "optimizer": type(self.optimizer).__name__,
            "parameters": sum(p.size for p in self.model.parameters()),
            "callbacks": [type(callback).__name__ for callback in self._stateful()],
            "generators": list(self._generators()),
        }  # fmt: skip

    def _stateful(self):
        """The callbacks that survive a restart."""
        return [callback for callback in self.callbacks if hasattr(callback, "state_dict")]

    def _generators(self):
        """Every source of random numbers: the default generator, and those of layers."""
        layers = {name: getattr(module, "rng", None) for name, module in self.model.named_modules()}
        own = {name: rng for name, rng in layers.items() if isinstance(rng, np.random.Generator)}
        return {"default": backend.generator(), **own}


def _two_parts(data):
    """The training part and the validation part, or None, of what `fit` was given."""
    if hasattr(data, "train") and hasattr(data, "val"):
        return data.train, data.val
    pair = isinstance(data, (tuple, list)) and len(data) == 2
    if not pair or not all(part is None or isinstance(part, (tuple, list, Part)) for part in data):
        raise TypeError(
            "fit takes a Dataset, or a pair (train, val) of parts, each a pair (images, labels); without "
            f"validation write ((images, labels), None). Got {type(data).__name__}"
        )
    return data


def _on_device(state, device):
    """A nested dictionary with its arrays moved to a device."""
    if isinstance(state, dict):
        return {key: _on_device(value, device) for key, value in state.items()}
    return backend.to_device(state, device) if backend.is_array(state) else state
