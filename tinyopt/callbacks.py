"""What may join a training run: progress, early stopping, checkpoints. Any object with a moment's method will do.

The moments, in order:

    before_fit   before_epoch   [ after_backward   after_step ] for each batch   after_epoch   after_fit

A method of that name is called with the `Run` (`train.py`), whose attributes it may read and change. One
that must survive a restart has `state_dict()` and `load_state_dict(state)`.
"""

import os
import sys

from tinyopt import checkpoint


class Progress:
    """Show loss and accuracy: a bar in a terminal, else a line an epoch."""

    def __init__(self, label="", stream=None):
        self.label, self.stream = label, stream
        self.bar, self.latest = None, {}  # the latest epoch's scores, for the bar

    def before_fit(self, run):
        stream = self.stream or sys.stderr
        if stream.isatty():
            from tqdm import tqdm

            shape = "{desc} {percentage:3.0f}%|{bar:10}| {elapsed}<{remaining}{postfix}"
            settings = {"desc": self.label, "file": stream, "leave": False, "bar_format": shape}
            self.bar = tqdm(total=run.n_steps, initial=run.step, **settings)

    def after_step(self, run):
        if self.bar is not None:
            self.bar.update()
            self._show(run, refresh=False)

    def after_epoch(self, run):
        row, line, self.latest = run.history[-1], "", {}
        if "accuracy" in row:
            line += f"  accuracy {row['accuracy']:.2%}"
            self.latest["accuracy"] = f"{row['accuracy']:.1%}"
        if "val_accuracy" in row:
            line += f"  validation {row['val_accuracy']:.2%} ± {row['val_error']:.2%}"
            self.latest["val"] = f"{row['val_accuracy']:.1%}"
        elif "val_loss" in row:
            line += f"  validation {row['val_loss']:.4f}"
            self.latest["val"] = f"{row['val_loss']:.3f}"
        if self.bar is None:
            label = f"{self.label} " if self.label else ""
            start = f"{label}epoch {run.epoch + 1}/{run.epochs}  loss {row['loss']:.4f}"
            print(f"{start}{line}  {row['seconds']:.1f} s", file=self.stream or sys.stderr, flush=True)
        else:
            self._show(run)

    def _show(self, run, refresh=True):
        now = {"epoch": f"{run.epoch + 1}/{run.epochs}", "loss": f"{run.loss:.3f}"}
        self.bar.set_postfix({**now, **self.latest}, refresh=refresh)

    def after_fit(self, run):
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class EarlyStopping:
    """Stop when validation has not improved for `patience` epochs, and go back to the best weights.

    Watched is validation accuracy; where there is none, as in a regression, validation loss.

    Units:  patience in epochs, 1 or more.
    Source: Prechelt (1998), "Early Stopping – But When?", in "Neural Networks: Tricks of the Trade", Springer.
    """

    def __init__(self, patience):
        if patience < 1:
            raise ValueError(f"patience is a number of epochs, 1 or more; got {patience}")
        self.patience, self.best, self.waited, self.weights = patience, None, 0, {}

    def before_fit(self, run):
        if run.val is None:
            raise ValueError("early stopping watches validation: pass data with a validation part")

    def after_epoch(self, run):
        row = run.history[-1]
        score = row.get("val_accuracy", -row["val_loss"])
        if self.best is None or score > self.best:
            self.best, self.waited, self.weights = score, 0, run.model.state_dict()
        else:
            self.waited += 1
            run.stop = run.stop or self.waited >= self.patience

    def after_fit(self, run):
        if self.weights:
            run.model.load_state_dict(self.weights)

    def state_dict(self):
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state):
        self.best, self.waited, self.weights = state["best"], state["waited"], state["weights"]


class Checkpoint:
    """Write the run's state to a file after each epoch, and every `every` steps if given; resume from it.

    A resumed run ends with weights bit-equal to those of one that was never stopped.
    """

    def __init__(self, path, every=None):
        if every is not None and every < 1:
            raise ValueError(f"checkpoint_every is a number of steps, 1 or more; got {every}")
        self.path, self.every = path, every

    def before_fit(self, run):
        if os.path.exists(self.path):
            run.load_state_dict(checkpoint.load_state(self.path))
        else:
            checkpoint.save_state(self.path, run.state_dict())  # an unwritable path is noticed now, not in an hour

    def after_step(self, run):
        if self.every and run.step % self.every == 0:
            checkpoint.save_state(self.path, run.state_dict())

    def after_epoch(self, run):
        checkpoint.save_state(self.path, run.state_dict())

