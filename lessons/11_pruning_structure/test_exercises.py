"""The exercises of lesson 11 and their tests. Each test's docstring is the property that it asks for.

Glossary: makes, reads, Booleans over the outputs and inputs of a layer, True stays; channel, what a filter makes.
"""

from pathlib import Path

import numpy as np

from tinyopt import Tensor, measure, nn
from tinyopt.compress import channels, importance, surgery, thin
from tinyopt.compress.importance import neurons
from tinyopt.course import Wrong, exercise, same, task
from tinyopt.course.compare import NotWritten
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
judge_cut, judge_indices, judge_number = material.judge_cut, material.judge_indices, material.judge_number
judge_shares = material.judge_shares


# --- 11.1 a removal, by hand ------------------------------------------------------------------------------

exercise(
    "11.1",
    material.predict,
    hides=[surgery.remove, surgery.masked, surgery.whole_cut, channels.follow, measure.summary],
    proves="You know what goes with a channel, and what it saves: before any line of code runs.",
)


def hand(ex):
    """The four parts of the answer."""
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 4:
        raise Wrong("Four things are due: return columns, gone, macs, both", {"yours": repr(answer)[:60]})
    if any(part is Ellipsis for part in answer):
        raise NotWritten
    return answer


@task("11.1", hints=[
    "After the pooling, an image of 6×6 is 3×3. So each channel has 9 numbers.",
    "Channel 0 is read by the columns 0 to 8, for flatten lays a whole channel after the other.",
])  # fmt: skip
def test_columns_by_hand(ex):
    """The columns of the dense layer that read channel 1."""
    material.judge_columns(hand(ex)[0], ex.reference()[0])


@task("11.1", hints=[
    "Three things go: the filter, its bias, and the columns of the dense layer.",
    "9 weights + 1 bias + 9 columns of 5 numbers. The biases of the dense layer belong to its outputs.",
])  # fmt: skip
def test_parameters_by_hand(ex):
    """All parameters that go with the channel."""
    judge_number(hand(ex)[1], ex.reference()[1], "The number of parameters that go", {
        54: "The filter's bias is missing. A channel that is gone has none.",
        10: "These are the filter and its bias. Who *reads* the channel loses weights, too.",
        9: "This is the filter alone. Its bias goes, and who reads the channel loses weights, too.",
        45: "These are the columns of the dense layer. The filter itself goes, too, with its bias.",
        15: "Only one column of the dense layer is counted. The channel has 3×3 numbers behind the pooling.",
        60: "The five biases of the dense layer stay: they belong to its outputs.",
        170: "These are the parameters that *stay*.",
        190: "It takes 36 columns of a channel: the pooling was forgotten.",
    })  # fmt: skip


@task("11.1", hints=[
    "The convolution makes 36 numbers for each filter, each of 3·3·1 products. Three filters are left.",
    "The dense layer has 27 inputs and 5 outputs.",
])  # fmt: skip
def test_macs_by_hand(ex):
    """The MACs that one image still takes."""
    judge_number(hand(ex)[2], ex.reference()[2], "The number of MACs that are left", {
        36 * 36 + 180: "That is before the removal. Asked for is afterwards.",
        36 * 9 + 45: "These are the MACs that are *saved*. Asked for is what is left.",
        972: "These are those of the convolution. The dense layer has some, too.",
        135: "These are those of the dense layer. The convolution has some, too.",
        972 + 180: "The dense layer reads fewer numbers now: 27.",
        36 * 36 + 135: "The convolution has one filter less: 3.",
        27 * 9 + 135: "The convolution runs *before* the pooling, at 6×6 places.",
        972 + 175: "Of the dense layer, only one column was taken away. Nine go.",
        16 * 27 + 135: "Padding 1 keeps 6×6 places; without padding there were 4×4.",
        972 + 135 + 3 + 5: "Adding a bias is no product: it is not counted as a MAC.",
    })  # fmt: skip


@task("11.1", hints=[
    "MACs = places · K² · C_in · C_out. Both C_in and C_out are smaller now.",
    "16 · 9 · 6 · 6. Compare with 16 · 9 · 8 · 12.",
])  # fmt: skip
def test_both_ends_by_hand(ex):
    """The MACs of a convolution that loses channels at both ends."""
    judge_number(hand(ex)[3], ex.reference()[3], "The number of MACs of (b)", {
        16 * 9 * 8 * 12: "That is before the removal.",
        16 * 9 * 8 * 6: "Only its filters are counted. It also *reads* fewer channels: 6 of 8.",
        16 * 9 * 6 * 12: "Only its inputs are counted. It also has fewer filters: 6 of 12.",
        9 * 36: "This is for one place. There are 4×4.",
        16 * 36: "The K² = 9 products of each filter and channel are missing.",
        16 * 9 * 2 * 6: "This multiplies what *goes*. What stays is 6 of 8 and 6 of 12.",
        16 * 9 * (8 * 12 - 2 * 6): "From the whole, it takes off what is in both cuts. What stays is 6 · 6.",
        16 * 9 * 8 * 12 * 0.25: "It takes a quarter. But the inputs keep 6 of 8: three quarters, times a half.",
    })  # fmt: skip


# --- 11.2 the cut of a weight ----------------------------------------------------------------------------

exercise(
    "11.2",
    surgery.cut_weight,
    proves="Your function cuts dense layers, convolutions and norms. The smaller net computes what the masked one does.",
)


def yes(text):
    """Booleans from a word such as "1011"."""
    return np.array([letter == "1" for letter in text])


@task("11.2", hints=[
    "A Boolean array as an index keeps the rows where it is True: weight[makes].",
    "Rows first, then the columns of what is left: weight[makes][:, reads].",
])  # fmt: skip
def test_dense_layer(ex):
    """Of a dense layer, the rows of `makes` stay and, in them, the columns of `reads`."""
    weight = np.arange(1.0, 13).reshape(3, 4)
    cases = ((weight, yes("101"), yes("1001")), (np.arange(1.0, 17).reshape(4, 4), yes("1010"), yes("0111")))
    for array, makes, reads in (*cases, (np.arange(1.0, 26).reshape(5, 5), yes("10110"), yes("01101"))):
        judge_cut(ex(array.copy(), makes, reads), array, makes, reads)


@task("11.2", hints=["A convolution's weight is (filters, channels, K, K). The last two axes stay as they are."])
def test_convolution(ex):
    """Of a convolution, filters and channels go; the pixels of each stay."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3))
    for makes, reads in ((yes("1101"), yes("101")), (yes("0010"), yes("111")), (yes("1111"), yes("010"))):
        judge_cut(ex(weight.copy(), makes, reads), weight, makes, reads)


@task("11.2", hints=["A bias has one entry for each output, and no inputs: weight[makes]."])
def test_bias_and_norm(ex):
    """A bias keeps the entries of `makes`; a weight whose inputs all stay keeps its rows."""
    bias, matrix = np.array([10.0, 20, 30, 40]), np.arange(8.0).reshape(4, 2)
    came = ex(bias.copy(), yes("1011"))
    if np.shape(came) == (4,):
        raise Wrong("The bias is as long as before. Each output has one entry: those that are gone go.")
    if np.array_equal(came, bias[[1]]):
        raise Wrong("True means *stays*. It keeps what should go.")
    same(came, [10, 30, 40], "what is left of the bias")
    same(ex(matrix.copy(), yes("1011")), matrix[[0, 2, 3]], "a weight, if only rows go,")


@task("11.2", points=2, hints=["All the lines above the first solution are given: leave them as they are."])
def test_cut_runs_inside_the_model(ex):
    """A net that your function cuts computes what the masked net computes."""
    weight = np.arange(12.0).reshape(3, 4)
    judge_cut(ex(weight, yes("110"), yes("1101")), weight, yes("110"), yes("1101"))
    one = ex(np.array([5.0, 6.0]), yes("01"))
    same(one, [6.0], "what is left of a bias")
    net, images = material.small_net()
    due = surgery.masked(net, images[:1], {"conv": [1, 4]})(Tensor(images)).numpy()
    with ex.installed():
        smaller = surgery.remove(net, images[:1], {"conv": [1, 4]})
    same(smaller(Tensor(images)).numpy(), due, "the output of the smaller net", rtol=1e-4, atol=1e-5)
    grouped = np.arange(24.0).reshape(4, 2, 3)
    came = ex(grouped.copy(), yes("1001"), yes("1001"), 2)
    same(came, [grouped[0, :1], grouped[3, 1:]], "what is left of a convolution in two groups")


# --- 11.3 the weakest ---------------------------------------------------------------------------------------

exercise(
    "11.3",
    thin.weakest,
    proves="Exactly as many channels go as you said, and always the same ones.",
)


@task("11.3", hints=[
    "np.argsort(scores) gives the indices, the lowest score first.",
    "Take the first int(fraction * len(scores)) of them, and np.sort them.",
])  # fmt: skip
def test_lowest_scores_go(ex):
    """The channels with the lowest scores go; their indices are ascending."""
    judge_indices(ex(np.array([2.0, -3.0, 0.5, 1.0]), 0.25), [2.0, -3.0, 0.5, 1.0], 0.25)
    judge_indices(ex(np.array([0.9, 0.1, 0.5, 0.3]), 0.5), [0.9, 0.1, 0.5, 0.3], 0.5)
    scores = np.random.default_rng(0).standard_normal(16).round(2)
    for fraction in (0.25, 0.5, 0.75):
        judge_indices(ex(scores.copy(), fraction), scores, fraction)


@task("11.3", hints=["The count is rounded down: of 5 channels, 0.5 removes 2. int() rounds positive numbers down."])
def test_count_is_rounded_down(ex):
    """The count is exact, rounded down; a fraction of 0 removes nothing, and one channel is always left."""
    scores = [5.0, 4.0, 1.0, 2.0, 3.0]
    for fraction in (0.5, 0.375, 0.75, 0.125, 0.0, 0.96875):
        judge_indices(ex(np.array(scores), fraction), scores, fraction)


@task("11.3", points=2, hints=["Of equal scores, the first go: np.argsort(scores, kind=\"stable\") keeps their order."])
def test_ties_go_by_position(ex):
    """With equal scores, the count is still exact, and the first ones go."""
    for scores in ([1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0] * 20):
        for fraction in (0.25, 0.5):
            judge_indices(ex(np.array(scores), fraction), scores, fraction)


@task("11.3")
def test_weakest_runs_inside_the_model(ex):
    """`weakest_channels` chooses what your function says."""
    came = ex(np.array([3.0, 1.0]), 0.5)
    judge_indices(came, [3.0, 1.0], 0.5)
    if isinstance(came, tuple):
        raise Wrong("The numbers are right. But NumPy reads a tuple as one index per axis: return an array or a list.")
    net, images = material.small_net()
    scores = [3.0, 1.0, 2.0, 1.0, 5.0, 1.0]
    with ex.installed():
        came = thin.weakest_channels(net, images[:1], {"conv": np.array(scores)}, 0.5)
    same(came["conv"], [1, 3, 5], "the choice of channels")


# --- 11.4 silent channels -------------------------------------------------------------------------------------

exercise(
    "11.4",
    neurons.apoz,
    proves="You measure how often each channel is silent, for convolutions and for dense layers.",
)

PAPER = np.array([[[0.0, 1], [2, 3]], [[0, 0], [0, 4]], [[0, 5], [6, 7]]])  # 3 images, 2 channels, 2 places


@task("11.4", hints=[
    "activation == 0 is True where a number is 0. The mean of Booleans is a share.",
    "Put all places into one axis: activation.reshape(N, C, -1). Then the mean over the axes 0 and 2.",
])  # fmt: skip
def test_share_on_paper(ex):
    """Of three images of two places, channel 0 is silent in 4 of 6 places, channel 1 in 1 of 6."""
    judge_shares(ex(PAPER.copy()), PAPER)


@task("11.4", points=2, hints=["Numbers below 0 are not 0; and 0.01 is not 0. Exactly 0 counts."])
def test_share_of_images(ex):
    """For images of any size: the share over all images and all places, of exact zeros."""
    rng = np.random.default_rng(0)
    for shape in ((3, 4, 5, 2), (4, 3, 2, 2), (5, 2, 1, 3)):
        z = rng.standard_normal(shape).round(1) * (rng.random(shape) > 0.4)
        z[0, 0] = 0  # one channel of one image is silent everywhere
        z[-1, 0, 0, -1] = 0.01
        judge_shares(ex(z.copy()), z)


@task("11.4", hints=["A dense layer has no places: (N, C). reshape(N, C, -1) makes one place of it."])
def test_share_of_dense_layers(ex):
    """For a dense layer, (N, C), too."""
    z = np.array([[0.0, 1, -2], [0, 0, 3], [0, 5, 6], [0, 7, 0]])
    try:
        came = ex(z.copy())
    except (IndexError, ValueError) as problem:
        raise Wrong("It needs four axes. A dense layer has two, (N, C).", {"error": str(problem)[:60]}) from None
    judge_shares(came, z)


@task("11.4")
def test_share_runs_inside_the_model(ex):
    """`channel_scores` returns 1 − your shares, measured after the ReLU."""
    came = ex(PAPER.astype(np.float32))
    judge_shares(came, PAPER)
    if isinstance(came, (list, tuple)):
        raise Wrong("The numbers are right. But the engine computes 1 − shares: return a NumPy array.")
    net, images = material.small_net()
    seen = nn.Sequential(**{name: net.get(name) for name in ("conv", "norm", "relu")}).eval()
    due = 1 - material.slow_shares(seen(Tensor(images)).numpy())
    with ex.installed():
        came = importance.channel_scores(net, "apoz", (images, np.array([0, 1, 2])))["conv"]
    same(came, due, "the scores of six channels", atol=1e-5)


# --- 11.5 explain this failure ---------------------------------------------------------------------------------

exercise(
    "11.5",
    material.witness,
    proves="A filter of zeros is no removed channel: the norm subtracts a mean that is no longer there.",
)


@task("11.5", points=2, hints=[
    "The norm computes γ · (0 − mean) / √variance + β. β is of no help: it is 0 or less.",
    "For which sign of the mean is −γ · mean positive? And divide by the *root* of the variance.",
])  # fmt: skip
def test_zero_filter_still_speaks(ex):
    """With β ≤ 0, a filter of zeros hands on 1 or more after norm and ReLU."""
    answer = ex()
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != 4:
        raise Wrong("Four numbers are due: return gamma, beta, mean, variance", {"yours": repr(answer)[:60]})
    names = ("γ", "β", "The running mean", "The running variance")
    gamma, beta, mean, variance = map(material.one_number, answer, names)
    if variance < 0:
        raise Wrong("A variance is a mean of squares: it cannot be below 0.", {"yours": variance})
    if beta > 0:
        raise Wrong("β is above 0. Of course such a shift passes. The friend said: β is not positive.", {"β": beta})
    said = material.handed_on(gamma, beta, mean, variance)
    facts = {"handed on": f"{said:.4g}"}
    if said >= 1 - 1e-4:
        return
    if gamma == 0:
        raise Wrong("γ = 0: the norm multiplies by 0, and only β is left.", facts)
    if mean == 0:
        raise Wrong("The mean is 0, so the norm subtracts nothing: only β is left.", facts)
    if -gamma * mean < 0:
        says = "−γ · mean is negative here, and the ReLU makes it 0. It is (0 − mean): turn a sign."
        raise Wrong(says, facts)
    if -gamma * mean + beta >= 1:
        raise Wrong("Too little is left after the division by √variance.", facts)
    if variance and -gamma * mean / variance + beta >= 1:
        raise Wrong("The norm divides by the *root* of the variance.", facts)
    raise Wrong("It is less than 1: a mean further from 0, a larger γ, or a smaller variance.", facts)
