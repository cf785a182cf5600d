"""Lesson 11: two references, oracles, the tests' names for classic mistakes, drawings."""

import copy

import numpy as np

from tinyopt import Tensor, measure, nn
from tinyopt.compress.channels import follow
from tinyopt.compress.surgery import remove
from tinyopt.course import Wrong, recognise
from tinyopt.course.compare import NotWritten

# --- 11.1 and 11.5: what the package says -------------------------------------------------------------


def predict():
    """What surgery does to the two nets of 11.1: columns, parameters and MACs of (a), MACs of (b)."""
    first = nn.Sequential(
        conv=nn.Conv2d(1, 4, 3, padding=1, rng=0), relu=nn.ReLU(), pool=nn.MaxPool2d(2), flatten=nn.Flatten(),
        fc=nn.Linear(36, 5, rng=0),
    )  # fmt: skip
    image = np.ones((1, 1, 6, 6), np.float32)
    flow = follow(first, image)
    columns = np.flatnonzero(flow.reads["fc"] == flow.makes["conv"][1]).tolist()
    before, after = (measure.summary(model, (1, 6, 6)) for model in (first, remove(first, image, {"conv": [1]})))
    second = nn.Sequential(
        conv1=nn.Conv2d(1, 8, 3, padding=1, rng=0), conv2=nn.Conv2d(8, 12, 3, padding=1, rng=0),
        flatten=nn.Flatten(), fc=nn.Linear(192, 2, rng=0),
    )  # fmt: skip
    smaller = remove(second, np.ones((1, 1, 4, 4), np.float32), {"conv1": [0, 1], "conv2": range(6)})
    both = measure.summary(smaller, (1, 4, 4))["conv2"].macs
    return columns, before.parameters - after.parameters, after.macs, both


def witness():
    """γ, β, mean and variance with which a filter of zeros hands on 1.5."""
    return 1.0, 0.0, -3.0, 4.0


def handed_on(gamma, beta, mean, variance):
    """What a channel hands on after norm (in eval mode) and ReLU, if its filter is zero: the package's own layers."""
    norm = nn.BatchNorm2d(1).eval()
    norm.weight.data, norm.bias.data = np.array([float(gamma)]), np.array([float(beta)])
    norm.running_mean, norm.running_var = np.array([float(mean)]), np.array([float(variance)])
    return float(nn.ReLU()(norm(Tensor(np.zeros((1, 1, 1, 1))))).numpy().item())


def small_net():
    """conv · norm · ReLU · flatten · dense, for images of 4×4."""
    layers = {"conv": nn.Conv2d(1, 6, 3, padding=1, bias=False, rng=0), "norm": nn.BatchNorm2d(6)}
    net = nn.Sequential(**layers, relu=nn.ReLU(), flatten=nn.Flatten(), fc=nn.Linear(96, 3, rng=1))
    net.get("norm").bias.data = np.linspace(-0.5, 0.5, 6).astype(np.float32)
    return net.eval(), np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


def with_arrays(model, layer, **arrays):
    """A copy of a model with other arrays in one layer: weight, bias, running_mean, running_var."""
    model = copy.deepcopy(model)
    for name, array in arrays.items():
        if name.startswith("running"):
            setattr(model.get(layer), name, array)
        else:
            getattr(model.get(layer), name).data = array
    return model


# --- slow oracles --------------------------------------------------------------------------------------


def slow_cut(weight, makes, reads):
    """Entry by entry: the rows that stay and, in them, the columns that stay."""
    return np.array([
        [weight[o, i] for i in range(weight.shape[1]) if reads[i]] for o in range(weight.shape[0]) if makes[o]
    ])  # fmt: skip


def slow_weakest(scores, n):
    """Take the lowest n times, the first of equals."""
    left, gone = list(range(len(scores))), []
    for _ in range(n):
        lowest = min(left, key=lambda i: (scores[i], i))
        left.remove(lowest)
        gone.append(lowest)
    return sorted(gone)


def slow_shares(activation):
    """Count the zeros of each channel one by one."""
    counts, seen = np.zeros(activation.shape[1]), np.zeros(activation.shape[1])
    for index, number in np.ndenumerate(activation):
        seen[index[1]] += 1
        counts[index[1]] += float(number) == 0.0
    return counts / seen


# --- the form of an answer, and classic mistakes ---------------------------------------------------------


def one_number(value, what):
    """One finite number out of an answer."""
    if value is Ellipsis:
        raise NotWritten
    try:
        number = float(np.squeeze(np.array(value, dtype=float)))
    except (TypeError, ValueError):
        raise Wrong(f"{what} is one number.", {"yours": repr(value)[:60]}) from None
    if not np.isfinite(number):
        raise Wrong(f"{what} is not finite.")
    return number


def judge_number(value, due, what, mistakes):
    """Compare one number; `mistakes` is {number: sentence}."""
    number = one_number(value, what)
    if number == due:
        return
    recognise(number, {says: known for known, says in mistakes.items()}, {"yours": f"{number:g}"})
    raise Wrong(f"{what} is another number.", {"yours": f"{number:g}"})


def judge_columns(came, due):
    """Compare the columns of 11.1, in any order; name the classic mistakes."""
    try:
        columns = np.sort(np.array(came, dtype=float).reshape(-1)).tolist()
    except (TypeError, ValueError):
        raise Wrong("The columns are a list of numbers.") from None
    classic = {
        "One column only. But flatten lays *nine* numbers of each channel side by side.": [1],
        "These columns take one number of every channel. In NCHW, a channel's numbers lie side by side.":
            list(range(1, 36, 4)),
        "These are the columns of channel 0. Channels are counted from 0.": list(range(9)),
        "These are the columns of channel 2. Channels are counted from 0.": list(range(18, 27)),
        "These are 36 columns of channel 1, as without pooling. The pooling leaves 3×3.": list(range(36, 72)),
        "One too far: the nine columns begin at 9.": list(range(10, 19)),
    }  # fmt: skip
    recognise(columns, classic, {"yours": columns})
    if len(columns) != len(due):
        raise Wrong("Not the right number of columns: as many as a channel has numbers.", {"yours": columns})
    if columns != due:
        raise Wrong("Other columns read channel 1.", {"yours": columns})


def judge_indices(came, scores, fraction):
    """Compare with the slow choice; name the classic mistakes."""
    if came is Ellipsis:
        raise NotWritten
    scores = np.asarray(scores, dtype=float)
    n = int(fraction * len(scores))
    due, facts = slow_weakest(scores, n), {"scores": scores.tolist(), "fraction": fraction, "due": None}
    array = np.array(came)
    facts |= {"yours": array.tolist(), "due": due}
    if array.dtype == bool:
        raise Wrong("These are Booleans. The *indices* of the channels that go are asked for.", facts)
    if array.ndim != 1:
        raise Wrong("A list of indices is due, one axis.", facts)
    array, real = array.tolist(), set(range(len(scores)))
    if array == due:
        return
    if not set(array) <= real:
        mine = set(array) <= set(scores.tolist())
        raise Wrong("These are scores. Their indices are asked for." if mine else "No channel has this index.", facts)
    array = [int(i) for i in array]
    if sorted(array) == due:
        raise Wrong("The right channels, but not in ascending order. Sort the indices.", facts)
    if n and array and sorted(array) == slow_weakest(-scores, n):
        raise Wrong("These are the strongest channels. The lowest scores go.", facts)
    if not n and len(array) == len(scores):
        raise Wrong("For a count of 0 nothing goes. (A slice [-0:] is everything, not nothing.)", facts)
    if len(array) == len(scores) - n and sorted(array) == sorted(real - set(due)):
        raise Wrong("These are the channels that *stay*.", facts)
    if n and len(array) > n and len(set(scores.tolist())) < len(scores) and scores[array].max() == scores[due].max():
        raise Wrong("Too many: with equal scores, a threshold takes all of them. The count must be exact.", facts)
    if len(array) > n and array == slow_weakest(scores, len(scores) - n):
        raise Wrong("As many as should *stay*. The fraction is the share that goes.", facts)
    if array and not n:
        raise Wrong("Here the fraction is less than one channel. Rounded down, none goes.", facts)
    if len(array) > n:
        raise Wrong("Too many. The count is rounded down: of 5 channels, 0.5 removes 2.", facts)
    if len(array) < n:
        raise Wrong("Too few channels go.", facts)
    if len(set(array)) == n and sorted(scores[array]) == sorted(scores[due]):
        raise Wrong("Of equal scores, the first ones go. NumPy's argsort needs kind=\"stable\" for that.", facts)
    if sorted(array) == slow_weakest(abs(scores), n):
        raise Wrong("It ranks magnitudes. A score may be below 0: −3 is lower than 1.", facts)
    raise Wrong("Other channels have lower scores.", facts)


def judge_shares(came, activation):
    """Compare with counting; name the classic mistakes."""
    due = slow_shares(activation)
    if came is Ellipsis:
        raise NotWritten
    try:
        came = np.array(came, dtype=float)
    except (TypeError, ValueError):
        raise Wrong("The shares should be numbers.", {"yours": repr(came)[:60]}) from None
    facts = {"activation": f"shape {activation.shape}", "yours": came.round(3).tolist(), "due": due.round(3).tolist()}
    if came.shape == due.shape and np.allclose(came, due, atol=1e-6):
        return
    flat = activation.reshape(*activation.shape[:2], -1)
    if came.shape != due.shape:
        if came.shape == ():
            raise Wrong("One number for all. Each *channel* has a share of its own: keep axis 1.", facts | {"yours": f"shape {came.shape}"})
        if came.ndim > 1:
            raise Wrong("One share for each channel is due: also the places are averaged.", facts | {"yours": f"shape {came.shape}"})
        if came.shape == activation.shape[:1]:
            raise Wrong("One share for each *example*. The channels are axis 1.", facts)
        raise Wrong("One share for each channel is due, shape (C,).", facts | {"yours": f"shape {came.shape}"})
    classic = {
        "It counts the numbers that are *not* 0. APoZ is the share of zeros.": 1 - due,
        "It counts the zeros. A share is that, divided by the number of images and places.": due * flat[:, 0].size,
        "It divides by the number of images only; there are several places in each.": due * flat.shape[2],
        "It counts everything that is not positive. A number below 0 is not silent: exactly 0 counts.":
            (flat <= 0).mean(axis=(0, 2)),
        "It counts channels that are 0 in *all* places of an image.": (flat == 0).all(axis=2).mean(axis=0),
        "That is in percent. A share lies between 0 and 1.": 100 * due,
        "reshape(C, ...) mixes the channels: the first axis is that of the examples.":
            (activation == 0).reshape(activation.shape[1], -1).mean(axis=1),
        "It counts small numbers as zeros, too. Exactly 0 is meant.": (abs(flat) < 0.1).mean(axis=(0, 2)),
    }  # fmt: skip
    recognise(came, classic, facts, atol=1e-6)
    raise Wrong("The shares are others. Count the zeros of one channel on paper.", facts)


def judge_cut(came, weight, makes, reads):
    """Compare with the slow cut; name the classic mistakes."""
    if came is Ellipsis:
        raise NotWritten
    due, makes, reads = slow_cut(weight, makes, reads), np.array(makes), np.array(reads)
    try:
        came = np.array(came, dtype=float)
    except (TypeError, ValueError):
        raise Wrong("An array is due.", {"yours": repr(came)[:60]}) from None
    facts = {"weight": f"shape {weight.shape}", "yours": f"shape {came.shape}", "due": f"shape {due.shape}"}
    if came.shape == due.shape and np.array_equal(came, due):
        return
    zeroed = weight * makes.reshape(-1, *[1] * (weight.ndim - 1)) * reads.reshape(-1, *[1] * (weight.ndim - 2))
    turned = "True means *stays*. It keeps what should go."
    classic = {
        "Only the rows are cut. The inputs that are gone are still read: cut the columns, too.": weight[makes],
        "Only the columns are cut. The filters that are gone are still there: cut the rows, too.": weight[:, reads],
        "It writes zeros. Nothing is gone: the shape is the old one.": zeroed,
        turned: weight[~makes][:, ~reads],
        "True means *stays*. Of the columns, it keeps those that should go.": weight[makes][:, ~reads],
        "True means *stays*. Of the rows, it keeps those that should go.": weight[~makes][:, reads],
        "It keeps the right number of rows and columns, but always the first ones.":
            weight[: makes.sum(), : reads.sum()],
        "Nothing is cut: this is the whole weight.": weight,
        "The right entries, but turned: the outputs are the rows.": due.T,
    }  # fmt: skip
    if len(makes) == len(reads):
        says = "Rows and columns are exchanged: `makes` is for axis 0, the outputs."
        classic[says] = weight[reads][:, makes]
    recognise(came, classic, facts)
    if weight.ndim > 2 and came.ndim == weight.ndim and came.shape[2:] != weight.shape[2:]:
        raise Wrong("It cuts the pixels of the filters. Only axes 0 and 1 have channels.", facts)
    if came.ndim < due.ndim:
        says = "An axis is lost: weight[makes, reads] takes *pairs*. Cut the rows first, then the columns."
        raise Wrong(says, facts)
    if came.shape == due.shape:
        raise Wrong("The shape is right, but other entries stay than should.", facts)
    raise Wrong("The shape is another: so many rows as `makes` has True, so many columns as `reads`.", facts)


# --- drawings ---------------------------------------------------------------------------------------------


def draw_hand_example():
    """W₁, b₁, W₂ and b₂ of the net of 2, 3 and 2 units; what goes with hidden unit 2 is red and struck out."""
    import matplotlib.pyplot as plt

    arrays = {
        "W₁: row 2 goes": (np.array([[1, 2], [3, 4], [5, 6]]), lambda row, column: row == 1),
        "b₁: entry 2": (np.array([[0], [1], [-1]]), lambda row, column: row == 1),
        "W₂: column 2 goes": (np.array([[1, 4, 2], [3, 1, -1]]), lambda row, column: column == 1),
        "b₂: all stay": (np.array([[0], [5]]), lambda row, column: False),
    }
    _, axes = plt.subplots(1, 4, figsize=(8.5, 2.6), layout="constrained", width_ratios=(2, 1.4, 3, 1.4))
    for ax, (title, (array, goes)) in zip(axes, arrays.items()):
        for (row, column), number in np.ndenumerate(array):
            red = goes(row, column)
            ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fc="#f6c6c0" if red else "#dbe7f3", ec="w"))
            ax.text(column, row, f"{number}", ha="center", va="center", fontsize=13, color="0.5" if red else "k")
            if red:
                ax.plot([column - 0.4, column + 0.4], [row + 0.4, row - 0.4], "C3", lw=1)
        ax.set(xlim=(-0.5, array.shape[1] - 0.5), ylim=(2.5, -0.5), xticks=[], yticks=[], title=title, aspect="equal")
        ax.spines[:].set_visible(False)


def draw_columns(ax, owner, title):
    """Columns of a dense layer, in the colour of the channel that each reads, with its number."""
    colours = ("C0", "C1", "C3", "C2")
    for place, channel in enumerate(owner):
        ax.bar(place, 1, width=0.9, color=colours[channel], alpha=0.7)
        ax.text(place, 0.5, str(channel), ha="center", va="center", fontsize=9)
    ax.set(xlim=(-0.6, 35.6), ylim=(0, 1), yticks=[], title=title, xticks=range(0, len(owner), 9))
    ax.spines[:].set_visible(False)


def draw_groups(groups):
    """Which layers are tied: one row for each layer, one column for each group."""
    import matplotlib.pyplot as plt

    layers = [name for group in groups for name in group.layers]
    _, ax = plt.subplots(figsize=(7.5, 0.24 * len(layers) + 0.9), layout="constrained")
    for column, group in enumerate(groups):
        rows = [layers.index(name) for name in group.layers]
        colour = "0.6" if group.fixed else f"C{column}"
        ax.plot([column] * len(rows), rows, "o-", color=colour, ms=7, lw=2)
        text = f"{group.n_channels} channels" + (", fixed" if group.fixed else "")
        ax.annotate(text, (column, rows[0]), (8, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_yticks(range(len(layers)), layers, fontsize=9)
    ax.set(xlim=(-0.4, len(groups)), xticks=range(len(groups)), xlabel="group of tied layers")
    ax.invert_yaxis()
