"""What the tour's techniques share: the baseline, copies of it, training, choosing on validation data."""

import copy
import math
import sys
from dataclasses import dataclass, field
from typing import Any

from tinyopt import backend, models
from tinyopt.losses import cross_entropy
from tinyopt.measure import evaluate
from tinyopt.nn import Flatten, Linear, ReLU, Sequential
from tinyopt.optim import AdamW
from tinyopt.train import fit

# Found in trials that printed test accuracy beside validation accuracy: see the remark in the README.
LR, DECAY = 3e-3, 0.3  # of all trainings; weights of no use fade by lr · decay = 0.1 % a step
BATCH = 32
SEEN = 14_000  # images that the baseline sees in training, unless told how many epochs


def smoothed(model, images, labels):
    """The objective: cross-entropy with labels smoothed by 0.1, as few images are soon learned by heart.

    Source: Szegedy et al. (2016), "Rethinking the Inception Architecture for Computer Vision",
            arXiv:1512.00567, Section 7.
    """
    logits = model(images)
    return cross_entropy(logits, labels, label_smoothing=0.1), logits


def warm_cosine(progress):
    """The schedule: lr rises for the first tenth of the steps, and falls along half a cosine.

    Source: Goyal et al. (2017), "Accurate, Large Minibatch SGD", arXiv:1706.02677, Section 2.2 (warm-up);
            Loshchilov & Hutter (2017), arXiv:1608.03983 (cosine).
    """
    return min(1, 10 * progress) * (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Made:
    """What a technique returns: a model, how to write it, and the settings with what led to them.

    `coding` is that of `tinyopt.save`; `archiver`, "zlib" or "lzma", squeezes the dense file instead. `tried`
    holds the validation accuracy of each candidate.
    """

    model: Any
    settings: dict = field(default_factory=dict)
    tried: dict = field(default_factory=dict)
    coding: str = "packed"
    archiver: str = ""


class Lab:
    """One tour's data, seed and baseline.

    Start:  epochs=None is as many as show the network 14,000 images, and at least 3.
    Attributes: `made`, what each technique returned so far, by name; `histories`, of trainings worth
    drawing; `floor`, the validation accuracy that a compressed model must reach.
    """

    def __init__(self, model_name, data, epochs, seed, progress=True):
        self.model_name, self.data, self.seed = model_name, data, seed
        self.epochs = max(3, round(SEEN / len(data.train))) if epochs is None else epochs
        self.sizes = {"image_size": data.input_shape[-1], "n_classes": data.n_classes}
        self.fresh_model = lambda: models.make(model_name, **self.sizes, rng=seed)
        self.fresh_model()  # an unknown name is noticed now
        self.made, self.histories, self.floor = {}, {}, 0.0
        self.stage, self.progress = "", progress

    def say(self, text):
        """One line of progress."""
        if self.progress:
            print(f"{self.stage}: {text}", file=sys.stderr, flush=True)

    def train(self, model, epochs=None, objective=smoothed, detail=""):
        """Train a model on the training part. Returns the history."""
        return fit(
            model, self.data, epochs=self.epochs if epochs is None else epochs, batch_size=BATCH,
            optimizer=AdamW(model.parameters(), lr=LR, weight_decay=DECAY), schedule=warm_cosine,
            objective=objective, seed=self.seed, progress=self.progress and f"{self.stage} {detail}".strip(),
        )  # fmt: skip

    def fine_tune(self, model, detail=""):
        """A quarter of the baseline's training, to mend what compressing broke."""
        self.train(model, math.ceil(self.epochs / 4), detail=detail)

    def copy_of(self, name):
        """A copy of what a technique made; of "dense", the trained network."""
        return copy.deepcopy(self.made[name].model)

    def student(self):
        """An untrained network with a thirtieth or so of the baseline's parameters."""
        if self.model_name == "lenet5":
            return models.lenet5(**self.sizes, filters=(4, 12), units=64, rng=self.seed)
        rng = backend.generator(self.seed)
        first = Linear(self.sizes["image_size"] ** 2, 16, rng=rng)
        last = Linear(16, self.sizes["n_classes"], rng=rng)
        return Sequential(flatten=Flatten(), fc1=first, relu1=ReLU(), fc2=last)

    def keep_baseline(self, model, history):
        """Take the trained network as what all others start from and are held against."""
        quality = evaluate(model, self.data.val)
        self.floor = quality.accuracy - max(quality.standard_error, 1 / quality.n)  # the error is 0 at 100 %
        self.histories["baseline"] = history
        settings = {"epochs": self.epochs, "lr": LR, "weight_decay": DECAY}
        return Made(model, settings, {"dense": quality.accuracy})

    def smallest(self, name, candidates, make, coding="packed"):
        """Make a model for each candidate, the smallest file first, until one is good enough.

        Good enough is: on validation data, within one standard error (or one image) of the baseline. If none
        is, the most accurate is taken. The test part is not looked at.
        """
        tried, best = {}, None
        for setting in candidates:
            model = make(setting)
            tried[setting] = evaluate(model, self.data.val).accuracy
            if best is None or tried[setting] > tried[best.settings[name]]:
                best = Made(model, {name: setting}, tried, coding)
            if tried[setting] >= self.floor:
                break
        return best

    def most_accurate(self, name, candidates, make):
        """Make a model for each candidate, and take the one that is best on validation data."""
        made = {setting: make(setting) for setting in candidates}
        tried = {setting: evaluate(model, self.data.val).accuracy for setting, model in made.items()}
        best = max(candidates, key=tried.get)
        return Made(made[best], {name: best}, tried)
