"""Lottery tickets: a sparse part of a network that trains as well as the whole, from where the whole began.

Start with `find_ticket`, then `Ticket`, a callback of `train.fit` that starts a run with it. A ticket is a mask and
the run's state at an early step; what it is worth is seen against a control with the same mask and other weights:

    def train_it(model, callbacks):
        return train.fit(model, digits, epochs=10, callbacks=callbacks)

    model = models.lenet_300_100(8, rng=0)
    ticket = find_ticket(model, train_it, 0.95, step=20)
    train_it(model, [ticket])                                              # the ticket
    train_it(control := ticket.control(models.lenet_300_100(8, rng=1)), [])  # the same mask, a fresh start
"""

import copy

import numpy as np

from tinyopt import backend
from tinyopt.compress.patterns import put_masks
from tinyopt.compress.prune import prune


class KeepStep:
    """A callback of `train.fit`: remember all of a run after a step, as `run.state_dict()` tells it.

    Units:  step of the optimizer; 0 is before the first.
    Raises: ValueError for a step below 0, or one that the run does not reach.
    """

    def __init__(self, step):
        if step < 0:
            raise ValueError(f"step is the one to rewind to, 0 or more; got {step}")
        self.step, self.state = step, None

    def before_fit(self, run):
        if self.step > run.n_steps:
            raise ValueError(f"step {self.step} to rewind to lies beyond the end of the run, {run.n_steps} steps")
        self.after_step(run)

    def after_step(self, run):
        if run.step == self.step:
            self.state = copy.deepcopy(run.state_dict())


class Ticket:
    """A mask and the state of a run at an early step; a callback of `train.fit` that starts there.

    The run goes on as the first one did after that step: the same weights, batches, learning rates and moments of
    the optimizer, only that the mask is on. With a mask of all ones it ends with the same bits.

    Attributes: masks, {parameter name: Booleans}; state, a `run.state_dict()`; step, where it was taken.
    """

    def __init__(self, state, masks):
        self.state, self.masks = state, masks

    step = property(lambda self: self.state["position"]["step"])

    def before_fit(self, run):
        if run.step:  # resumed from a checkpoint, which holds the masks too
            return
        if run.n_steps < self.step:
            raise ValueError(f"a ticket of step {self.step} cannot start in a run of {run.n_steps} steps")
        run.load_state_dict(copy.deepcopy(self.state))
        put_masks(run.model, self.masks)

    def control(self, fresh):
        """The random control: the ticket's masks on a model with other first weights, in place; returns it.

        It is trained from its first step, all of them: no fewer than the ticket was. If it does as well, then
        it was the mask that mattered, or neither.

        Raises: ValueError if the weights are those of the ticket, or a mask does not fit.
        Source: Frankle & Carbin (2019), arXiv:1803.03635, Section 2 (random reinitialization).
        """
        weights = dict(fresh.named_parameters())
        own = self.state["model"]
        if all(name in weights and _same(weights[name].data, own[name]) for name in self.masks):
            raise ValueError("a control starts from other weights than its ticket: build it with another seed, rng=1")
        put_masks(fresh, self.masks)
        return fresh


def find_ticket(model, train, sparsity, *, step=0, rounds=1, scope="global", skip=()):
    """Train, prune what ended small, go back to an early step; in several rounds, if asked. Returns a `Ticket`.

        θ_k -> train -> θ_T      mask the smallest of |θ_T|      back to θ_k      and again
        sparsity of round r = 1 − (1 − s)^(r / R)

    The model itself is left as its last training made it, with the ticket's mask.

    Shapes: train(model, callbacks) runs `train.fit` with these callbacks, each time with a new optimizer and
            otherwise the same arguments.
    Units:  sparsity, fraction *removed* in the end; step k of the optimizer, 0 is the very start.
    Raises: ValueError for a sparsity outside [0, 1), fewer than 1 round, a step that is not reached, or a `train`
            that does not pass its callbacks on.
    Source: Frankle & Carbin (2019), "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
            arXiv:1803.03635 (k = 0); Frankle, Dziugaite, Roy & Carbin (2020), "Linear Mode Connectivity and the
            Lottery Ticket Hypothesis", arXiv:1912.05671 (rewinding to step k).
    """
    if rounds < 1:
        raise ValueError(f"rounds of training and pruning: 1 or more; got {rounds}")
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is removed/all, in [0, 1): 90 % is 0.9; got {sparsity}")
    keeper = KeepStep(step)
    train(model, [keeper])
    if keeper.state is None:
        raise ValueError("train(model, callbacks) must hand its callbacks on: train.fit(..., callbacks=callbacks)")
    for r in range(1, rounds + 1):
        share = sparsity if r == rounds else 1 - (1 - sparsity) ** (r / rounds)
        ticket = Ticket(keeper.state, prune(model, share, scope=scope, skip=skip))
        if r < rounds:
            train(model, [ticket])
    return ticket


def _same(a, b):
    return a.shape == b.shape and bool(np.array_equal(backend.to_host(a), backend.to_host(b)))
