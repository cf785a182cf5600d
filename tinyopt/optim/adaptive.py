"""A step size for each weight, from the size of its past gradients: `Adagrad`, `RMSprop`, `Adadelta`."""

import numpy as np

from tinyopt.optim.optimizer import Optimizer, blend


class Adagrad(Optimizer):
    """Divide by the length of all past gradients: rare features keep large steps.

        g ← g + λ θ                             λ = weight_decay
        s ← s + g²
        θ ← θ − lrₜ · g / (√s + ε)              lrₜ = lr / (1 + (t − 1) · lr_decay)

    s only grows, so steps shrink as 1/√t: right for convex problems, soon too small for networks.

    Shapes: theta, g, s alike, any shape.
    Units:  1 extra array per parameter.
    Start:  s = initial_accumulator_value; above 0 it tames the first steps, which are else lr · sign(g).
    Raises: ValueError if a setting is negative.
    Source: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods for online learning and stochastic
            optimization", JMLR 12, the diagonal case.
    Differs: lr_decay, λ and a start above 0 are PyTorch's additions; ε is the paper's δ.
    """

    def __init__(self, params, lr=1e-2, lr_decay=0, weight_decay=0, initial_accumulator_value=0, eps=1e-10):
        super().__init__(
            params, lr, lr_decay=lr_decay, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, eps=eps,
        )  # fmt: skip
        self._require_not_negative("lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    @property
    def slots(self):
        return {"s": self.initial_accumulator_value}

    def update(self, theta, g, state, t):
        g = self.penalized(g, theta)
        s = state["s"]
        s += g**2
        lr_t = self.lr / (1 + (t - 1) * self.lr_decay)
        return theta - lr_t * g / (np.sqrt(s) + self.eps)


class RMSprop(Optimizer):
    """Divide by the recent size of the gradient: Adagrad that forgets.

        g ← g + λ θ                             λ = weight_decay
        v ← α v + (1 − α) g²                    smoothed square
        a ← α a + (1 − α) g                     (centered) smoothed gradient, and v − a² for v below
        b ← μ b + g / (√v + ε)                  μ = momentum
        θ ← θ − lr · b

    Shapes: theta, g, v, a, b alike, any shape.
    Units:  1 extra array per parameter, and 1 more each for momentum and centered.
    Raises: ValueError if alpha lies outside [0, 1), or eps, momentum or weight_decay is negative.
    Source: Tieleman & Hinton (2012), "Lecture 6.5: RMSprop", Coursera: Neural Networks for Machine
            Learning; centered: Graves (2013), arXiv:1308.0850, Section 4.2.
    Differs: as in PyTorch, ε stands outside the root (Graves: inside), and α is 0.99 (Hinton: 0.9). With
            centered, a gradient that is constant for a thousand steps brings v − a² to 0, where steps are
            huge, and rounding to below 0, where they are NaN: in PyTorch too.
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0, momentum=0, centered=False):
        super().__init__(
            params, lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered
        )
        self._require_fraction("alpha")
        self._require_not_negative("eps", "weight_decay", "momentum")

    @property
    def slots(self):
        return {"v": 0.0, **({"a": 0.0} if self.centered else {}), **({"b": 0.0} if self.momentum else {})}

    def update(self, theta, g, state, t):
        g = self.penalized(g, theta)
        v = state["v"]
        blend(v, g**2, keep=self.alpha)
        if self.centered:
            blend(state["a"], g, keep=self.alpha)
            v = v - state["a"] ** 2
        scaled = g / (np.sqrt(v) + self.eps)
        if self.momentum:
            b = state["b"]
            b *= self.momentum
            b += scaled
            scaled = b
        return theta - self.lr * scaled


class Adadelta(Optimizer):
    """Give steps the unit of the weight: divide by the gradient's recent size, multiply by the step's.

        g ← g + λ θ                             λ = weight_decay
        v ← ρ v + (1 − ρ) g²                    smoothed square of gradients
        d = √(u + ε) / √(v + ε) · g
        u ← ρ u + (1 − ρ) d²                    smoothed square of steps
        θ ← θ − lr · d

    Shapes: theta, g, v, u alike, any shape.
    Units:  2 extra arrays per parameter.
    Start:  u = 0, so that the first steps are about √ε: slow, until u has grown.
    Raises: ValueError if rho lies outside [0, 1), or eps or weight_decay is negative.
    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, Algorithm 1.
    Differs: the paper has no lr (that is lr = 1, PyTorch's default) and no weight decay.
    """

    slots = {"v": 0.0, "u": 0.0}

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0):
        super().__init__(params, lr, rho=rho, eps=eps, weight_decay=weight_decay)
        self._require_fraction("rho")
        self._require_not_negative("eps", "weight_decay")

    def update(self, theta, g, state, t):
        g = self.penalized(g, theta)
        v, u = state["v"], state["u"]
        blend(v, g**2, keep=self.rho)
        d = np.sqrt(u + self.eps) / np.sqrt(v + self.eps) * g
        blend(u, d**2, keep=self.rho)
        return theta - self.lr * d
