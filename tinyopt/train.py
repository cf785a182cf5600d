"""The training loop: `fit`. Read `Run.fit` first; it is the loop, and all else serves it.

Progress, early stopping and checkpoints are callbacks (`callbacks.py`) that join at named moments.
"""

import math
import time

import numpy as np

from tinyopt import backend, measure
from tinyopt.autograd import no_grad
from tinyopt.callbacks import Checkpoint, EarlyStopping, Progress
from tinyopt.data import DataLoader
from tinyopt.errors import TrainingDiverged
from tinyopt.losses import cross_entropy
from tinyopt.measure import evaluate
from tinyopt.optim import Adam

MOMENTS = ("before_fit", "before_epoch", "after_backward", "after_step", "after_epoch", "after_fit")


def classify(model, images, labels):
    """The usual objective: (cross-entropy, logits). Another one may take any model and batch to (loss, outputs)."""
    logits = model(images)
    return cross_entropy(logits, labels), logits


def cosine(progress):
    """A schedule: lr falls from its start to 0 along half a cosine; `progress` runs from 0 to 1.

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
            part is a pair (images, labels).
    Units:  epochs; batch_size in examples; patience in epochs without a better validation accuracy (then
            the best weights are taken back); checkpoint_every in steps.
    Start:  optimizer=None is Adam at its defaults; schedule, a function of progress in [0, 1) whose value
            multiplies lr, is constant; progress may be False, or a text to show in front.
    Raises: ValueError, ShapeError or DtypeError for data that do not fit; TrainingDiverged as soon as the
            loss is NaN or infinite, with the step and the layer where it began.

    `checkpoint` is a path: the run's state is written there, and if the file exists the run goes on from it,
    and ends bit-equal to one that was never stopped.
    """
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

    def __init__(self, model, data, epochs, batch_size, optimizer, objective, schedule, callbacks, savers, seed, device):
        if epochs < 0:
            raise ValueError(f"epochs is a number of passes over the data, 0 or more; got {epochs}")
        train, self.val = (data.train, data.val) if hasattr(data, "train") else data
        self.model, self.objective, self.schedule, self.device = model.to(device), objective, schedule, device
        self.loader = DataLoader(train, batch_size, shuffle=True, seed=seed, device=device)
        self.optimizer = optimizer or Adam(model.parameters())
        self.callbacks, self.savers = callbacks, savers  # savers come last: they write what the others left
        self.base_lr = self.optimizer.lr
        self.epochs, self.n_steps = epochs, epochs * len(self.loader)
        self.epoch = self.next_epoch = self.step = self.first_batch = 0
        self.history, self.stop = [], False
        self.sums = {"loss": 0.0, "correct": 0, "seen": 0}  # of the epoch so far

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
            self.sums = {"loss": 0.0, "correct": 0, "seen": 0}
            self._tell("after_epoch")
        self._tell("after_fit")
        self.model.eval()

    def train_step(self):
        """One batch: forward, backward, update."""
        if self.schedule is not None:
            self.optimizer.lr = self.base_lr * self.schedule(self.step / self.n_steps)
        self.optimizer.zero_grad()
        loss, self.outputs = self.objective(self.model, self.images, self.labels)
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

    def _tell(self, moment):
        for callback in self.callbacks + self.savers:
            self._call(callback, moment)

    def _call(self, callback, moment):
        method = getattr(callback, moment, None)
        if method is not None:
            method(self)

    def _count(self, n):
        self.sums["loss"] += self.loss * n
        self.sums["seen"] += n
        if self._classifies():  # stays on the device until the epoch ends
            hits = self.outputs.data.argmax(axis=1) == self.labels.data
            self.sums["correct"] = self.sums["correct"] + hits.sum()

    def _classifies(self):
        return self.outputs.ndim == 2 and self.labels.ndim == 1 and self.labels.dtype.kind in "iu"

    def _row(self, seconds):
        """The history's row of the epoch that just ended."""
        row = {"epoch": self.epoch + 1, "loss": self.sums["loss"] / self.sums["seen"], "lr": self.optimizer.lr}
        if self._classifies():
            row["accuracy"] = int(self.sums["correct"]) / self.sums["seen"]
        if self.val is not None:
            quality = evaluate(self.model, self.val)
            row |= {"val_loss": quality.loss, "val_accuracy": quality.accuracy, "val_error": quality.standard_error}
        return {**row, "seconds": seconds}

    def _where_it_began(self):
        """A sentence that names the step and the first layer whose numbers are not finite."""
        place = f"the loss is {self.loss} at step {self.step + 1} (epoch {self.epoch + 1})"
        for name, parameter in self.model.named_parameters():
            if not bool(np.isfinite(parameter.data).all()):
                return f"{place}: it began in {name}, which the step before made NaN or infinite. Try a smaller learning rate than {self.optimizer.lr}"
        with no_grad(), measure.capture(self.model) as layers:
            self.model(self.images)
        for name, layer in layers.items():
            if name and not bool(np.isfinite(layer.output.data).all()):
                return f"{place}: it began in layer {name!r}, whose output overflowed. Try a smaller learning rate than {self.optimizer.lr}"
        return f"{place}: every layer's output is finite, so it began in the loss itself; look at the objective and the targets"

    # --- what a checkpoint holds ---

    def state_dict(self):
        """All that a resumed run needs; the order of batches follows from seed and epoch."""
        return {
            "run": self._identity(),
            "position": {"next_epoch": self.next_epoch, "first_batch": self.first_batch, "step": self.step, "stop": self.stop},
            "sums": {name: float(value) for name, value in self.sums.items()},
            "history": self.history,
            "base_lr": self.base_lr,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: rng.bit_generator.state for name, rng in self._generators().items()},
            "callbacks": {str(i): c.state_dict() for i, c in enumerate(self.callbacks) if hasattr(c, "state_dict")},
        }

    def load_state_dict(self, state):
        """Go on from what `state_dict` gave.

        Raises: ValueError if it belongs to another run.
        """
        if state["run"] != self._identity():
            raise ValueError(
                f"this checkpoint is of another run: it was made with {state['run']}, this is {self._identity()}. "
                "Give another path, or delete the file to start afresh"
            )
        for name, value in state["position"].items():
            setattr(self, name, value)
        self.sums, self.history, self.base_lr = state["sums"], state["history"], state["base_lr"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(_on_device(state["optimizer"], self.device))
        for name, rng in self._generators().items():
            rng.bit_generator.state = state["generators"][name]
        for i, callback in enumerate(self.callbacks):
            if hasattr(callback, "load_state_dict"):
                callback.load_state_dict(state["callbacks"][str(i)])

    def _identity(self):
        """What must be the same for a checkpoint to belong here."""
        return {
            "seed": self.loader.seed, "batch_size": self.loader.batch_size, "examples": self.loader.n_samples,
            "optimizer": type(self.optimizer).__name__,
            "parameters": sum(p.size for p in self.model.parameters()),
        }  # fmt: skip

    def _generators(self):
        """Every source of random numbers: the default generator, and those of layers."""
        own = {name: m.rng for name, m in self.model.named_modules() if isinstance(getattr(m, "rng", None), np.random.Generator)}
        return {"default": backend.generator(), **own}


def _on_device(state, device):
    """A nested dictionary with its arrays moved to a device."""
    if isinstance(state, dict):
        return {key: _on_device(value, device) for key, value in state.items()}
    return backend.to_device(state, device) if backend.is_array(state) else state

