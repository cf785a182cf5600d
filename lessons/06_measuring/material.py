"""What the tests of lesson 6 and its notebook share: the references of 6.1, 6.3 and 6.6."""

import math

import numpy as np

from tinyopt import measure, nn
from tinyopt.course import Wrong, recognise


class Says(nn.Module):
    """A model whose logits are its input, so that a test can choose what is predicted."""

    def forward(self, x):
        return x


def evaluated(labels, predictions, n_classes=10):
    """The `Quality` of a model that makes these predictions."""
    return measure.evaluate(Says(), (np.eye(n_classes, dtype=np.float32)[predictions], np.array(labels)))


def predict_error():
    """What the package finds for 400 images, of which 360 are named rightly."""
    error = evaluated(np.zeros(400, int), (np.arange(400) >= 360).astype(int)).standard_error
    return 100 * error, 100 * math.hypot(error, error), round(400 * (error / 0.005) ** 2)


def witness():
    """Answers of two models to the same images: the bars overlap, and yet the difference is clear."""
    before = (np.arange(200) < 100).astype(int)  # half of them right: there the bars are longest
    after = (np.arange(200) < 110).astype(int)  # the same, and 10 more: nothing is lost
    return before, after


def bars(answers):
    """Accuracy − error and accuracy + error, from 0 and 1."""
    p = float(np.mean(answers))
    error = math.sqrt(p * (1 - p) / len(answers))
    return p - error, p + error


def predict_cost():
    """What the package counts for Conv2d(3, 8, 5, stride=2, padding=2) on an image (3, 12, 12)."""
    table = measure.summary(nn.Conv2d(3, 8, 5, stride=2, padding=2), (3, 12, 12))
    return table.parameters, table.macs, table.bytes


def blame(came, known, rtol=1e-6):
    """Raise `Wrong` if the answer is one of the `known` mistakes, {sentence: what it gives}, and show it."""
    try:
        recognise(came, known, rtol=rtol)
    except Wrong as mistake:
        mistake.facts["yours"] = np.array(came).round(6).tolist()
        raise


def several(ex, line, *args):
    """The answer, as many values as the `line` that returns them names."""
    came, n = ex(*args), line.count(",") + 1
    if not isinstance(came, (tuple, list, np.ndarray)) or len(came) != n:
        raise Wrong(f"{n} results are due: return {line}", {"yours": repr(came)[:80]})
    return came


MAC_MISTAKES = {
    "That is one output position. The filters are used at each of them.": 600,
    "The stride is forgotten: the filter takes every second position, in both directions.": 144 * 600,
    "The padding is forgotten: the image becomes 16 × 16 before the filter slides.": 16 * 600,
    "5 positions in a row? There are 6. Both sides are padded, and the first position counts, too: "
    "(12 + 2 · 2 − 5) // 2 + 1.": 25 * 600,
    "Twice too many. A multiply and its add are one MAC; and the stride counts in both directions.": 72 * 600,
    "A bias is added, not multiplied. MACs count products.": 36 * 608,
    "Each filter sees all 3 channels.": 36 * 200,
    "That is one filter. There are 8.": 36 * 75,
}

N, GAINED, LOST = 40, 9, 3


def answers():
    """Two models' answers to 40 images; the second has lost 3 and gained 9."""
    before = np.ones(N, dtype=bool)
    before[5:14] = before[20:24] = False
    after = before.copy()
    after[5:14], after[:3] = True, False
    return before, after


def pair(ex):
    """The answer: two arrays of 0 and 1, as long as each other."""
    answer = several(ex, "before, after")
    if not all(isinstance(part, (list, tuple, np.ndarray)) for part in answer):
        raise Wrong("Each of the two is an array, one entry for each image.", {"yours": repr(answer)[:80]})
    lengths = " and ".join(str(len(part)) for part in answer)
    if len(answer[0]) != len(answer[1]) or not 20 <= len(answer[0]) <= 10_000:
        says = "Both models answer the same images, 20 to 10,000 of them: two arrays of the same length."
        raise Wrong(says, {"yours": f"{lengths} images"})
    for part in answer:
        if not np.isin(np.array(part), (0, 1)).all():
            raise Wrong("An answer is 1 (right) or 0 (wrong), for each image.")
    return (np.array(part, dtype=int) for part in answer)
