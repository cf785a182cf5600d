"""Which weights and channels matter? Criteria as functions on arrays, and loops that put a model's numbers into them.

Start with these three: `magnitude` (`weights.py`), one line; `obs` (`second_order.py`), where the others make up for
what goes; `score` (`score.py`), which measures what a criterion asks for.

    weights.py       of values and gradients     random magnitude above sigma gradient saliency taylor movement
    second_order.py  of curvature                obd fisher obs obc, and update_survivors
    at_start.py      before training             snip synflow
    neurons.py       of neurons and filters      l1 l2 bn_scale taylor apoz mean_activation entropy mutual_information
    score.py         of a whole model            score, prune_below, surgeon
    channels.py      the same for channels       channel_scores
    measured.py      what they ask for           gradients, their squares, curvature, X Xᵀ, flow
    asked.py         what both loops need        the criterion, a copy of the model, the data

    scores = importance.score(model, "fisher", data.train)
    compress.prune(model, 0.9, scores=scores)
"""

from tinyopt.compress.importance.at_start import synflow_prune
from tinyopt.compress.importance.channels import CHANNEL_CRITERIA, channel_scores
from tinyopt.compress.importance.neurons import slimmed
from tinyopt.compress.importance.score import CRITERIA, prune_below, score, surgeon
from tinyopt.compress.importance.second_order import update_survivors
from tinyopt.compress.importance.weights import Movement, above, magnitude, sigma

__all__ = [
    "CHANNEL_CRITERIA", "CRITERIA", "Movement", "above", "channel_scores", "magnitude", "prune_below", "score",
    "sigma", "slimmed", "surgeon", "synflow_prune", "update_survivors",
]  # fmt: skip
