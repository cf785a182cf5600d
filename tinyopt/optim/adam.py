"""Momentum and a step size for each weight: `Adam` and `AdamW`."""

import math

import numpy as np

from tinyopt.optim.optimizer import Optimizer, blend


class Adam(Optimizer):
    """Give each weight its own step size, from running moments of its gradient.

        g ← g + λ θ                         λ = weight_decay
        m ← β₁ m + (1 − β₁) g               smoothed gradient
        v ← β₂ v + (1 − β₂) g²              smoothed square
        θ ← θ − lr · m̂ / (√v̂ + ε)           m̂ = m / (1 − β₁ᵗ),  v̂ = v / (1 − β₂ᵗ)

    Dividing by 1 − βᵗ undoes the pull of the zero start. The code divides no array by it: with
    c = √(1 − β₂ᵗ) the last line is lr · c / (1 − β₁ᵗ) · m / (√v + c ε).

    Shapes: theta, g, m, v all alike, any shape.
    Units:  t counts steps from 1; state costs 2 extra arrays per parameter.
    Raises: ValueError if a beta lies outside [0, 1), or eps or weight_decay is negative.
    Source: Kingma & Ba (2015), "Adam: a method for stochastic optimization", arXiv:1412.6980,
            Algorithm 1, and the remark on its order in Section 2.
    Differs: the paper has no weight decay; λ θ here passes through m and v, as in PyTorch. AdamW mends that.
    """

    slots = {"m": 0.0, "v": 0.0}

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        super().__init__(params, lr, betas=betas, eps=eps, weight_decay=weight_decay)
        if not isinstance(self.betas, tuple) or len(self.betas) != 2:
            raise ValueError(f"betas are two numbers, such as (0.9, 0.999); got {betas!r}")
        self._require_fraction("betas")
        self._require_not_negative("eps", "weight_decay")

    def update(self, theta, g, state, t):
        return theta - self.adapted(self.penalized(g, theta), state, t)

    def adapted(self, g, state, t):
        """What to subtract: lr · m̂ / (√v̂ + ε)."""
        beta1, beta2 = self.betas
        m, v = state["m"], state["v"]
        blend(m, g, keep=beta1)
        blend(v, g**2, keep=beta2)
        c = math.sqrt(1 - beta2**t)
        return self.lr * c / (1 - beta1**t) * m / (np.sqrt(v) + c * self.eps)


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights themselves, whatever the size of their gradients.

        θ ← θ − lr · λ θ − lr · m̂ / (√v̂ + ε)            m̂, v̂ as in Adam, of g without λ θ

    In Adam the penalty's gradient λ θ is divided by √v̂ too, so weights with large gradients are hardly
    penalized; here all shrink at one rate.

    Shapes, Units, Raises: as Adam.
    Source: Loshchilov & Hutter (2019), "Decoupled weight decay regularization", arXiv:1711.05101,
            Algorithm 2.
    Differs: as in PyTorch, λ is multiplied by lr, where the paper has a schedule factor η of its own.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)

    def update(self, theta, g, state, t):
        return theta * (1 - self.lr * self.weight_decay) - self.adapted(g, state, t)
