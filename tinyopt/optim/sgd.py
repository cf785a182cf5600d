"""Down the slope: `GD` and `SGD`."""

from tinyopt.optim.optimizer import Optimizer


class GD(Optimizer):
    """Gradient descent: a step down the gradient of the loss over *all* data.

        θ ← θ − lr · g          g = ∂L/∂θ, and L the loss over the whole training set

    The formula is that of plain SGD. What makes it gradient descent is yours to do: call `backward()` on
    the loss of the full batch (or on each part of it, as gradients add up) before each step. It
    converges for lr < 2 / (the largest curvature of L).

    Shapes: theta, g alike, any shape.
    Source: Cauchy (1847), "Méthode générale pour la résolution des systèmes d'équations simultanées",
            Comptes rendus 25.
    """

    def __init__(self, params, lr=1e-3):
        super().__init__(params, lr)

    def update(self, theta, g, state, t):
        return theta - self.lr * g


class SGD(Optimizer):
    """Stochastic gradient descent: the gradient of a small random batch, and a memory of those before.

        g ← g + λ θ                     λ = weight_decay
        b ← μ b + (1 − τ) g             μ = momentum, τ = dampening; b = g at t = 1
        g ← g + μ b  (nesterov),  or b
        θ ← θ − lr · g

    Momentum 0.9 averages over the last ten or so gradients: what they agree on adds up to ten times the
    step, what they disagree on cancels. Nesterov's form looks one step ahead along b.

    Shapes: theta, g, b alike, any shape.
    Units:  momentum costs 1 extra array per parameter.
    Raises: ValueError if momentum or weight_decay is negative, or for nesterov without momentum or with
            dampening.
    Source: Robbins & Monro (1951), "A stochastic approximation method", Ann. Math. Statist. 22(3);
            Polyak (1964), "Some methods of speeding up the convergence of iteration methods", USSR
            Comput. Math. Math. Phys. 4(5); Nesterov (1983), "A method of solving a convex programming
            problem with convergence rate O(1/k²)", Soviet Math. Dokl. 27(2); as Sutskever, Martens, Dahl
            & Hinton (2013), "On the importance of initialization and momentum in deep learning", ICML.
    Differs: as in PyTorch, lr stands outside b, where the papers have b ← μ b − lr · g: alike while lr is
            constant, but a new lr here acts on the whole memory at once. Dampening is PyTorch's own, and
            spares the first gradient.
    """

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        super().__init__(
            params, lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay, nesterov=nesterov
        )
        self._require_not_negative("momentum", "weight_decay")
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(f"nesterov needs momentum > 0 and dampening = 0; got {momentum} and {dampening}")

    @property
    def slots(self):
        return {"b": 0.0} if self.momentum else {}

    def update(self, theta, g, state, t):
        g = self.penalized(g, theta)
        if self.momentum:
            g = self.direction(g, state, t)
        return theta - self.lr * g

    def direction(self, g, state, t):
        """What to follow in place of g, with momentum: b ← μ b + (1 − τ) g, or g + μ b (nesterov)."""
        b = state["b"]
        b *= self.momentum
        b += (1 - self.dampening) * g if self.dampening and t > 1 else g
        return g + self.momentum * b if self.nesterov else b
