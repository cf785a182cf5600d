"""What a model does, counted and measured. Read in this order:

    modes.py     run a model to look at it: eval mode, no graph, restored after
    capture.py   every layer's inputs, output and gradient, for one batch
    trace.py     modules and ops in order, and how values pass between them
    summary.py   parameters, non-zeros, products and bytes, layer by layer
    latency.py   seconds for one forward pass
    scores.py    confusion matrix, precision, recall, F1, paired difference: functions on arrays
    quality.py   accuracy and its error, per-class scores, and two models compared
    table.py     columns of text
"""

from tinyopt.measure.capture import capture
from tinyopt.measure.latency import latency
from tinyopt.measure.modes import inference
from tinyopt.measure.quality import compare, evaluate
from tinyopt.measure.scores import confusion_matrix, mcnemar, paired_difference, precision_recall_f1
from tinyopt.measure.summary import summary
from tinyopt.measure.trace import trace

__all__ = [
    "capture", "compare", "confusion_matrix", "evaluate", "inference", "latency", "mcnemar",
    "paired_difference", "precision_recall_f1", "summary", "trace",
]  # fmt: skip
