"""The exercises of lesson 6 and their tests. Each test's docstring is the property that it asks for.

Glossary: C classes, n images, p accuracy, d the difference of two answers to one image.
"""

import math
from pathlib import Path

import numpy as np

from tinyopt import measure
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.compare import alike
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
blame, several, N, GAINED, LOST = material.blame, material.several, material.N, material.GAINED, material.LOST
LABELS, SAID = np.array([0, 0, 0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 1, 1, 0, 0, 2])


# --- 6.1 numbers, by hand --------------------------------------------------------------------------

exercise(
    "6.1",
    material.predict_error,
    hides=[measure.evaluate, measure.paired_difference],
    proves="You can say how far an accuracy is to be trusted, before anybody measures it.",
)


@task("6.1", hints=[
    "The formula is √(p · (1 − p) / n), with p = 0.9 and n = 400. The root of 400 is 20.",
    "√(0.9 · 0.1) = 0.3. So the error is 0.3 / 20. Give it in points: times 100.",
])  # fmt: skip
def test_the_error_of_one_accuracy(ex):
    """The standard error of an accuracy p on n images is √(p (1 − p) / n)."""
    came, due = several(ex, "one, two, images")[0], ex.reference()[0]
    blame(came, {"It is given as a share. It should be in points: times 100.": due / 100}, rtol=0.02)
    for unit in (1, 100):
        blame(came, {"A root is missing: p · (1 − p) / n is the variance.": unit * 0.09 / 400}, rtol=0.02)
        blame(came, {"n is not under the root.": unit * 0.3 / 400}, rtol=0.02)
    same(came, due, "the error of one accuracy, in points", rtol=0.01)


@task("6.1", hints=[
    "Two independent errors add as the two short sides of a right triangle: √(a² + b²).",
    "Both are equal here: √(a² + a²) = √2 · a, and √2 ≈ 1.41.",
])  # fmt: skip
def test_the_error_of_a_difference(ex):
    """Errors of two independent measurements add in squares."""
    came, (one, due, _) = several(ex, "one, two, images")[1], ex.reference()
    known = {
        "The two errors are added. Their luck cancels in part: add the squares, then take the root.": 2 * one,
        "That is the error of one model. In a difference, both are uncertain.": one,
        "That is the error of the mean of two. A difference is less certain, not more.": one / math.sqrt(2),
    }
    blame(came, known, rtol=0.02)
    same(came, due, "the error of the difference, in points", rtol=0.02)


@task("6.1", hints=["n stands under a root. For an error 3 times smaller, n must be 9 times larger."])
def test_the_number_of_images(ex):
    """For an error three times smaller, nine times as many images are needed."""
    came = several(ex, "one, two, images")[2]
    known = {
        "Three times as many images make the error only √3 = 1.7 times smaller.": 1200,
        "That is how many times more. How many images is that in all?": 9,
        "That many are needed if the *difference* should have this error. One model is asked for.": 7200,
    }
    blame(came, known, rtol=0.02)
    same(came, ex.reference()[2], "the number of images", rtol=0.01)


# --- 6.2 the paired difference ---------------------------------------------------------------------

exercise(
    "6.2",
    measure.paired_difference,
    proves="Your function judges a difference on the images where the two models disagree, and on no others.",
)


@task("6.2", hints=[
    "Make d first, one number for each image: after − before. It is 1, 0 or −1.",
    "np.subtract(after, before, dtype=float) works for True and False too. The difference is d.mean().",
])  # fmt: skip
def test_the_difference_is_the_mean_of_d(ex):
    """The difference is the accuracy after, minus the accuracy before."""
    came = several(ex, "difference, standard_error", *material.answers())[0]
    known = {
        "It is a count of images. The difference of accuracies is a mean: divide by n.": GAINED - LOST,
        "It is the share of disagreements. An image that was lost counts −1.": (GAINED + LOST) / N,
        "Images on which both agree are left out. They count in n.": (GAINED - LOST) / (GAINED + LOST),
    }
    blame(came, known)
    same(came, (GAINED - LOST) / N, "the difference")


@task("6.2", points=2, hints=[
    "The spread of d: how far is each d[i] from the mean of d? Square, take the mean, take the root.",
    "d.std() is that spread. It belongs to one image; the mean of n images is √n times more certain.",
    "The standard error is d.std() / √n, with n = len(d).",
])  # fmt: skip
def test_the_standard_error_is_that_of_pairs(ex):
    """The standard error is the standard deviation of d, divided by √n."""
    before, after = material.answers()
    came = several(ex, "difference, standard_error", before, after)[1]
    mean, two = (GAINED - LOST) / N, [float(x.std()) / math.sqrt(N) for x in (before, after)]
    squares = (N - GAINED - LOST) * mean**2 + GAINED * (1 - mean) ** 2 + LOST * (1 + mean) ** 2  # one by one
    spread, n_differ = math.sqrt(squares / N), GAINED + LOST
    differ = math.sqrt(1 - ((GAINED - LOST) / n_differ) ** 2)  # the spread of d where it is 1 or −1
    left_out = "Images on which both agree are left out. They hold d = 0: they count in the spread, and in n."
    blame(came, {left_out: differ / math.sqrt(N)})
    blame(came, {left_out: differ / math.sqrt(n_differ)})
    known = {
        "It is the spread of d, the error for one image. For a mean of n images: divide by √n.": spread,
        "It is divided by n. The error of a mean falls with √n.": spread / N,
        "It is the variance. A root is missing.": spread**2 / N,
        "It is the error for two separate sets of images. These are the same: use d.": math.hypot(*two),
        "The two errors are added. Use d, where the luck of each image cancels.": sum(two),
        "The two errors are subtracted. Use d, the difference image by image.": abs(two[1] - two[0]),
    }
    blame(came, known)
    same(came, spread / math.sqrt(N), "the standard error", rtol=0.02)  # dividing by n − 1 is as good


@task("6.2", hints=["Where both are right, or both wrong, d[i] = 0: no difference, and no error."])
def test_images_on_which_both_agree_bring_no_error(ex):
    """A model compared with itself differs by 0 ± 0, however bad it is."""
    before, after = np.array([1, 0, 0, 1, 0, 1]), np.array([0, 1, 0, 1, 0, 1])
    same(ex(before, before.copy()), (0, 0), "the difference of a model to itself")
    same(ex(before, after)[0], 0, "the difference of one gained and one lost")


@task("6.2")
def test_the_comparison_of_two_models_runs_on_it(ex):
    """`measure.compare` gives your numbers for two evaluated models."""
    first, second = material.evaluated(LABELS, SAID), material.evaluated(LABELS, LABELS)
    with ex.installed():
        result = measure.compare(first, second)
    same(result.difference, 4 / 8, "the difference in `compare`")
    same(result.standard_error, 0.5 / math.sqrt(8), "the standard error in `compare`", rtol=0.08)


# --- 6.3 explain this failure ----------------------------------------------------------------------

exercise(
    "6.3",
    material.witness,
    proves="You found what the two bars cannot show: whether the models disagree, and in which direction.",
)


@task("6.3", hints=[
    "Begin with 200 images: before = np.array([1] * 100 + [0] * 100), half of them right.",
    "The bars are longest at an accuracy of 50 %. There they overlap most easily.",
])  # fmt: skip
def test_the_bars_overlap(ex):
    """The bars accuracy ± standard error of the two models overlap, so the friend says: no difference."""
    before, after = map(material.bars, material.pair(ex))
    if max(before[0], after[0]) > min(before[1], after[1]):
        facts = {"before": "{:.3f} to {:.3f}".format(*before), "after": "{:.3f} to {:.3f}".format(*after)}
        raise Wrong("The bars do not overlap. Then the friend, too, sees a difference.", facts)


@task("6.3", points=2, hints=[
    "What counts are the images where the two disagree. Let `after` be right wherever `before` is.",
    "If nothing is lost and 8 or more images are gained, a fair coin would hardly do that: 2 / 2⁸ < 0.01.",
    "after = before.copy(); after[100:110] = 1   gains 10 images and loses none.",
])  # fmt: skip
def test_and_yet_the_difference_is_clear(ex):
    """Where they disagree, one model is right so often that luck explains it badly: p < 0.01."""
    before, after = material.pair(ex)
    lost, gained = int((before > after).sum()), int((after > before).sum())
    p = measure.mcnemar(lost, gained)
    facts = {"lost": lost, "gained": gained, "p": f"{p:.3g}", "due": "p < 0.01"}
    if lost + gained == 0:
        raise Wrong("The two models never disagree: there is no difference to be seen.", facts)
    if p >= 0.01 and min(lost, gained) > 0.25 * (lost + gained):
        raise Wrong("They disagree in both directions. A fair coin does that often.", facts)
    if p >= 0.01:
        raise Wrong("There are too few disagreements. A fair coin could do that, too.", facts)


# --- 6.4 the confusion matrix ----------------------------------------------------------------------

exercise(
    "6.4",
    measure.confusion_matrix,
    proves="Every score of a classifier is in this table, and `evaluate` can fill it with your function.",
)


@task("6.4", points=2, hints=[
    "Begin with zeros: np.zeros((n_classes, n_classes), dtype=int). Each image adds 1 to one cell.",
    "Row = truth, column = prediction: the cell is [label, prediction].",
    "A loop over zip(labels, predictions) is right; so is np.add.at(cells, (labels, predictions), 1).",
])  # fmt: skip
def test_each_image_counts_in_its_cell(ex):
    """Cell [t, p] counts the images of class t that were said to be p."""
    due = np.array([[2, 2, 0], [1, 1, 0], [1, 0, 1]])
    came = ex(LABELS.copy(), SAID.copy(), 3)
    if isinstance(came, (list, tuple)):
        raise Wrong("It should be a NumPy array: np.array(...) makes one.", {"yours": type(came).__name__})
    once = "Images of the same cell count only once. cells[labels, predictions] += 1 does that."
    known = {
        once: np.minimum(due, 1),
        "Rows and columns are exchanged: row = truth, column = prediction.": due.T,
        "Only right answers are counted. Each image counts in a cell, the wrong ones too.": due * np.eye(3),
        "These are shares of each row. The confusion matrix holds counts.": due / due.sum(axis=1)[:, None],
    }
    blame(came, known)
    same(came, due, "the confusion matrix")


@task("6.4", hints=["The table has n_classes rows and columns, also for a class that does not occur here."])
def test_a_class_that_does_not_occur_has_its_row_and_column(ex):
    """The matrix is (C, C) also if a class is missing."""
    due = np.zeros((4, 4))
    due[0, 0], due[2, 0] = 1, 2
    came = ex(np.array([0, 2, 2]), np.array([0, 0, 0]), 4)
    if np.shape(came) == (4, 4) and np.sum(came) == 3 and not alike(came, due):
        says = "Class c has row c and column c, also where other classes are missing. np.histogram2d without "
        facts = {"row 2": np.array(came)[2].tolist(), "due": [2, 0, 0, 0]}
        raise Wrong(says + "`range`, and np.unique, only know the classes that occur.", facts)
    same(came, due, "the confusion matrix of 4 classes")


@task("6.4")
def test_evaluate_runs_on_it(ex):
    """The package's recall comes out of your matrix."""
    quality = material.evaluated(LABELS, SAID)
    with ex.installed():
        same(quality.recall[:3], (2 / 4, 1 / 2, 1 / 2), "the recall from your matrix")


# --- 6.5 precision, recall, F1 ---------------------------------------------------------------------

exercise(
    "6.5",
    measure.precision_recall_f1,
    proves="You can say for each class what accuracy hides: how much is found, and how much of it is true.",
)
CELLS = np.array([[6, 2, 0], [1, 3, 0], [3, 1, 4]])
PRECISION, RECALL = np.array([6 / 10, 3 / 6, 4 / 4]), np.array([6 / 8, 3 / 4, 4 / 8])  # column sums, row sums


@task("6.5", hints=[
    "Precision looks at what was *said* to be c: a column. Recall looks at what *is* c: a row.",
    "The right ones stand on the diagonal: np.diagonal(confusion). A column sums over axis 0.",
])  # fmt: skip
def test_precision_and_recall(ex):
    """Precision divides by what was said to be c, a column; recall by what is c, a row."""
    precision, recall, _ = several(ex, "precision, recall, f1", CELLS.copy())
    exchanged = "Precision and recall are exchanged: a row holds what is c, a column what was said to be c."
    blame(precision, {exchanged: RECALL})
    blame(recall, {exchanged: PRECISION})
    blame(recall, {"Divide for each class by its own sum, not by all images.": np.diag(CELLS) / CELLS.sum()})
    same(precision, PRECISION, "precision")
    same(recall, RECALL, "recall")


@task("6.5", hints=["F1 is 2 · P · R / (P + R), for each class. It is nearer to the smaller of the two."])
def test_f1(ex):
    """F1 is the harmonic mean of precision and recall."""
    f1 = several(ex, "precision, recall, f1", CELLS.copy())[2]
    known = {
        "It is the plain mean. F1 is the harmonic mean, 2 · P · R / (P + R).": (PRECISION + RECALL) / 2,
        "It is the geometric mean. F1 is the harmonic one, 2 · P · R / (P + R).": np.sqrt(PRECISION * RECALL),
        "A factor 2 is missing: where P = R, F1 must be equal to them.": 1 / (1 / PRECISION + 1 / RECALL),
    }
    blame(f1, known)
    same(f1, 2 / (1 / PRECISION + 1 / RECALL), "F1")
    p, r = np.array([1 / 5, 2 / 5]), np.array([1 / 4, 2 / 6])
    f1 = several(ex, "precision, recall, f1", np.array([[1, 3], [4, 2]]))[2]  # a bad model: P + R < 1
    guard = "P + R was replaced by 1 where it is below 1. That guard is for counts; P + R may be any number."
    blame(f1, {guard: 2 * p * r})
    same(f1, 2 * p * r / (p + r), "F1 of a bad model")


@task("6.5", points=2, hints=[
    "A class that was never said has precision 0 / 0. NumPy makes NaN of it. The rule here: it counts as 0.",
    "np.divide(a, b, out=np.zeros(len(b)), where=b != 0) divides only where it can.",
])  # fmt: skip
def test_nothing_divided_by_nothing_counts_as_0(ex):
    """A score that would be 0 / 0 is 0, and not NaN."""
    cells = np.array([[90, 0, 0], [10, 0, 0], [0, 0, 0]])  # class 1 is never said, class 2 is not there
    with np.errstate(all="ignore"):
        came = several(ex, "precision, recall, f1", cells)
    due = (("precision", [0.9, 0, 0]), ("recall", [1, 0, 0]), ("F1", [180 / 190, 0, 0]))
    for score, (name, numbers) in zip(came, due):
        if np.shape(score) == (3,) and np.allclose(score[2], 1):
            raise Wrong(f"The {name} of a class that is not there is 1. By our rule, 0 / 0 counts as 0.")
        same(score, numbers, f"the {name} of a model that always says 0")


@task("6.5")
def test_the_printed_table_runs_on_it(ex):
    """`evaluate` gives your recall for each class."""
    with ex.installed():
        same(material.evaluated(LABELS, SAID).recall[:3], (1 / 2, 1 / 2, 1 / 2), "the recall in `evaluate`")


# --- 6.6 what a layer costs, by hand ---------------------------------------------------------------

exercise(
    "6.6",
    material.predict_cost,
    hides=[measure.summary],
    proves="You can read the price of a layer from its shapes: what it stores, and what it computes.",
)
LINE = "parameters, macs, n_bytes"


@task("6.6", hints=["One filter has 3 · 5 · 5 weights and one bias. There are 8 filters."])
def test_the_parameters(ex):
    """A convolution has C_out · C_in · k · k weights and C_out biases."""
    came = several(ex, LINE)[0]
    blame(came, {"The 8 biases are missing.": 600, "Each filter has 3 · 5 · 5 weights.": 208})
    same(came, ex.reference()[0], "the number of parameters")


@task("6.6", points=2, hints=[
    "First the size of the output: (12 + 2 · 2 − 5) // 2 + 1, in both directions.",
    "Each output number meets each weight of its filter once: 3 · 5 · 5 multiply-adds.",
    "There are 8 filters, and each makes 6 · 6 output numbers.",
])  # fmt: skip
def test_the_macs(ex):
    """Each of the 8 · 6 · 6 output numbers costs one multiply-add for each weight of its filter."""
    came = several(ex, LINE)[1]
    blame(came, material.MAC_MISTAKES)
    same(came, ex.reference()[1], "the number of MACs")


@task("6.6", hints=["A float32 has 32 bits, and 8 bits make a byte."])
def test_the_bytes(ex):
    """Each float32 parameter takes 4 bytes in memory."""
    came = several(ex, LINE)[2]
    blame(came, {"These are bits: 8 make a byte.": 608 * 32, "That is float64, of 8 bytes.": 608 * 8})
    same(came, ex.reference()[2], "the number of bytes")
