"""Importance before training: which connections of a fresh network are worth keeping.

Start with these three: `snip`, which looks at one gradient; `synflow`, which looks at no data at all, and
`synflow_prune`, which shows why it has to prune in many small rounds.
"""

from tinyopt.compress.prune import prune


def snip(weight, gradient, total):
    """How much of the whole network's sensitivity one connection has.

        s = |w · ∂L/∂w| / total        total = Σ over all weights of the network of |w · ∂L/∂w|

    With a gate c = 1 on each connection, w·g is ∂L/∂c: what the loss would do if this one were closed a little.

    Shapes: weight and gradient alike; total, one number for all layers -> s, same shape; all s add to 1.
    Source: Lee, Ajanthan & Torr (2019), "SNIP: Single-shot Network Pruning based on Connection Sensitivity",
            arXiv:1810.02340.
    Differs: they take one batch; we take the mean over the data given. A total of 0 gives scores of 0.
    """
    return abs(weight * gradient) / (total + (total == 0))


def synflow(weight, flow):
    """How much of the flow from all inputs to all outputs passes a connection, if every weight counts as |w|.

        R = 1ᵀ |W_L| ⋯ |W_2| |W_1| 1        s = |w| · ∂R/∂|w|

    What flows in flows out: without residual sums, the s of each layer add to R. So few weights in a layer have
    high scores, and the last ones never have the lowest: no layer is emptied, if pruning goes in many rounds.

    Shapes: weight; flow = ∂R/∂|w|, alike -> s, same shape.
    Source: Tanaka, Kunin, Yamins & Ganguli (2020), "Pruning neural networks without any data by iteratively
            conserving synaptic flow", arXiv:2006.05467.
    Differs: biases and running means count as 0, so that the flow is conserved exactly.
    """
    return abs(weight) * flow


def synflow_prune(model, sparsity, part, *, rounds=100, skip=()):
    """Prune by synaptic flow, in place: score, remove a little, and score again.

        sparsity after round k of n = 1 − (1 − sparsity)^(k / n)        so each round removes the same share

    In one round (`rounds=1`) a wide layer, whose flow is spread over many weights, may lose all of them.

    Shapes: part, images and labels, of which only the shape of an image is read. Returns {parameter name: mask}.
    Units:  sparsity, fraction removed of all weights together, in [0, 1).
    Raises: ValueError for fewer rounds than 1; else as `prune` and `score`.
    Source: as `synflow`, Algorithm 1.
    """
    from tinyopt.compress.importance.score import score

    if rounds < 1:
        raise ValueError(f"rounds is how often the scores are measured, 1 or more; got {rounds}")
    for k in range(1, rounds + 1):
        reached = sparsity if k == rounds else 1 - (1 - sparsity) ** (k / rounds)
        masks = prune(model, reached, skip=skip, scores=score(model, "synflow", part, skip=skip))
    return masks
