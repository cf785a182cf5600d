"""Importance of single weights, from their values and their gradients; functions on arrays, higher = keep.

Start with these three: `magnitude`, which needs no data; `saliency`, which asks the gradient as well; `movement`,
which watches training. A gradient is ∂L/∂w, of the mean loss over the data.

    w·g is the first-order change of the loss: L(w) − L(0) ≈ w · ∂L/∂w        (Taylor, around w)
"""

import numpy as np

from tinyopt import backend


def random(weight, rng):
    """Any weight is as good as any other: the control that every criterion must beat.

        s = u        uniform in [0, 1)

    Shapes: weight, any -> s, same shape; rng, a generator or a seed.
    Source: Blalock, Gonzalez Ortiz, Frankle & Guttag (2020), "What is the State of Neural Network Pruning?",
            arXiv:2003.03033 (as a baseline).
    """
    return backend.uniform_like(weight, rng)


def magnitude(weight):
    """Large weights do much.

        s = |w|

    Shapes: weight, any -> s, same shape.
    Source: Han, Pool, Tran & Dally (2015), "Learning both Weights and Connections for Efficient Neural
            Networks", arXiv:1506.02626.
    """
    return abs(weight)


def above(weight, threshold):
    """Keep what is larger than an absolute threshold, however many that are.

        keep = |w| > t

    Shapes: weight, any -> mask, same shape; True keeps.
    Raises: ValueError for a threshold below 0, or NaN.
    Source: Han et al. (2015), arXiv:1506.02626.
    """
    if not threshold >= 0:
        raise ValueError(f"a threshold is compared with magnitudes, so it is 0 or more; got {threshold}")
    return abs(weight) > threshold


def sigma(weight):
    """How many of its layer's standard deviations a weight is large: layers of all scales on one list.

        s = |w| / σ        σ² = mean of (w − w̄)² over the layer;  s = |w| where σ = 0

    Cut at c, `above(sigma(weight), c)` keeps what is larger than c·σ.

    Shapes: weight of one layer, any -> s, same shape.
    Source: Han et al. (2015), arXiv:1506.02626 (a threshold is "a quality parameter multiplied by the standard
            deviation of a layer's weights").
    """
    spread = weight.std()
    return abs(weight) / (spread + (spread == 0))


def gradient_size(gradient):
    """Weights to which the loss reacts most, whatever they are now.

        s = |∂L/∂w|

    Not a measure of what is lost: at w = 0 nothing is, and s may still be large. It says which weights would
    change most in the next step, and so where new ones may grow.

    Shapes: gradient, any -> s, same shape.
    Source: Evci, Gale, Menick, Castro & Elsen (2020), "Rigging the Lottery", arXiv:1911.11134.
    Differs: there it chooses what to grow; here it ranks what there is.
    """
    return abs(gradient)


def saliency(weight, gradient):
    """How much the loss would change without this weight, to first order.

        s = |w · ∂L/∂w|

    Shapes: weight and gradient alike -> s, same shape.
    Source: Mozer & Smolensky (1989), "Skeletonization", NIPS 1; Blalock et al. (2020), arXiv:2003.03033
            ("gradient magnitude").
    Differs: Mozer & Smolensky rank units, by the derivative with respect to a gate at 1, which is Σ w·g.
    """
    return abs(weight * gradient)


def taylor(weight, batch_square):
    """The square of the first-order change, averaged over batches: they cannot cancel each other.

        s = mean over batches b of (w · g_b)²  =  w² · mean of g_b²

    At a minimum the mean gradient is 0, and `saliency` says nothing; those of single batches are not.

    Shapes: weight; batch_square, the mean of g_b², alike -> s, same shape.
    Source: Molchanov, Mallya, Tyree, Frosio & Kautz (2019), "Importance Estimation for Neural Network
            Pruning", arXiv:1906.10771.
    Differs: they add the scores of a filter's weights; we rank the weights themselves.
    """
    return weight**2 * batch_square


def movement(scores, weight, gradient, lr=1.0):
    """One step's share in how far training moves a weight away from 0.

        s ← s − lr · w · ∂L/∂w        from s = 0

    Gradient descent changes w by −lr · ∂L/∂w: if that has the sign of w, the weight grows, and s too. A large
    weight that shrinks scores low, a small one that grows scores high. In small steps, s ends at ½ (w² − w₀²).

    Shapes: scores, weight and gradient alike -> s, same shape.
    Source: Sanh, Wolf & Rush (2020), "Movement Pruning: Adaptive Sparsity by Fine-Tuning", arXiv:2005.07683.
    Differs: they prune while scores gather, and gradients pass through the mask to weights that are pruned;
            here the scores gather first, and a masked weight has no gradient and keeps its score.
    """
    return scores - lr * weight * gradient


class Movement:
    """A callback of `train.fit` that gathers movement scores: `prune(model, 0.9, scores=callback.scores)`.

        s ← s − lr · w · ∂L/∂w        after each `backward`, with the optimizer's lr of that step

    Attributes: scores, {parameter name: array}, from 0.
    Raises: ValueError for shared weights: under a codebook there is no gradient for each.
    Source, Differs: as `movement`.
    """

    def __init__(self):
        self.scores = {}

    def after_backward(self, run):
        self.gather(run.model, run.optimizer.lr)

    def gather(self, model, lr):
        """Add what the gradients that the model has now say."""
        for name, parameter in model.named_parameters():
            if len(parameter.shape) < 2 or parameter.grad is None:
                continue
            if parameter.data.shape != parameter.shape:
                raise ValueError(f"{name} is shared: its codebook moves, not its weights. Prune before sharing")
            weight = parameter.read().data
            before = self.scores.get(name, np.zeros_like(weight))
            self.scores[name] = movement(before, weight, parameter.grad, lr)

    def state_dict(self):
        return {"scores": dict(self.scores)}

    def load_state_dict(self, state):
        self.scores = dict(state["scores"])
