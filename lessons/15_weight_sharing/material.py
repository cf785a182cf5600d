"""What the tests of lesson 15 and its notebook share: references, the friend's rule, classic mistakes, figures."""

import itertools

import matplotlib.pyplot as plt
import numpy as np

from tinyopt import Tensor, nn, ops
from tinyopt.compress.share import lloyd_step
from tinyopt.course import Wrong, recognise
from tinyopt.course.compare import NotWritten

NUMBERS = np.array([0.0, 3.0, 6.0, 7.0, 8.0, 9.0])  # exercise 15.1
START = np.array([3.0, 12.0])


def predict():
    """What the package finds: two centroids after one step of k-means, and two after the second."""
    first, _ = lloyd_step(NUMBERS, START)
    second, _ = lloyd_step(NUMBERS, first)
    return (*first.tolist(), *second.tolist())


def mean_lookup(codebook, labels):
    """A friend's rule: the value is right; the pullback takes the mean of the members' gradients."""
    members = labels.reshape(-1)

    def grad_codebook(g):
        total = np.bincount(members, weights=g.reshape(-1), minlength=len(codebook))
        count = np.bincount(members, minlength=len(codebook))
        return (total / np.maximum(count, 1)).astype(codebook.dtype)

    return codebook[labels], (grad_codebook, None)


def witness():
    """Labels and gradients of six weights on which the mean points in another direction than the sum."""
    unequal = np.array([0, 0, 0, 0, 1, 2])  # the mean divides the first sum by 4, the others by 1
    alike = np.array([1.0, 1.0, 1.0, 1.0, 4.0, 4.0])  # the three sums are alike
    return unequal, alike


def both(labels, g):
    """The friend's gradient of three centroids, and the right one."""
    labels, g, codebook = np.array(labels), np.array(g, dtype=float), np.zeros(3)
    return mean_lookup(codebook, labels)[1][0](g), ops.lookup.rule(codebook, labels)[1][0](g)


def angle(a, b):
    """The angle between two directions, in degrees."""
    cosine = (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


# --- 15.2: the form of an answer, an oracle, and a classic mistake ---------------------------------


def step_by_distances(x, centroids):
    """The slow oracle: all distances, the smallest one, then one mean after the other."""
    nearest = [min(range(len(centroids)), key=lambda j: abs(number - centroids[j])) for number in x]
    groups = [[number for number, label in zip(x, nearest) if label == j] for j in range(len(centroids))]
    filled = [group for group in groups if group]
    return np.array([sum(group) / len(group) for group in filled]), np.array([len(group) for group in filled])


def means_and_counts(result):
    """The answer as (means, counts), or what is wrong with its form."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("Two arrays are due: return means, counts", {"yours": type(result).__name__})
    return result


def ask_step(ex, x, centroids):
    """Both results of the answer, given arrays that it must not change; a 0/0 is a NaN, and no warning."""
    for array in (x, centroids):
        array.setflags(write=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        return means_and_counts(ex(x, centroids))


def cut_at_centroids(x, centroids):
    """The members if each centroid were the left border of its cluster: a classic mistake."""
    return np.diff([0, *np.searchsorted(x, centroids[1:]), len(x)])


# --- 15.3: the same for `lookup` -------------------------------------------------------------------

CODEBOOK = np.array([-1.0, 0.5, 2.0, 7.0])
LABELS = np.array([[0, 1, 1], [1, 2, 1]])  # nobody reads the last centroid
G = np.array([[2.0, -1.0, 3.0], [0.5, 4.0, 1.0]])
DUE = np.array([2.0, 3.5, 4.0, 0.0])


def ask_rule(ex, codebook, labels):
    """(value, the codebook's pullback) of the answer, or what is wrong with its form."""
    for array in (codebook, labels):
        array.setflags(write=False)
    result = ex(codebook, labels)
    due = {"due": "return y, (grad_codebook, None)"}
    if not isinstance(result, tuple) or len(result) != 2:
        raise Wrong("A rule returns its value, and a tuple of two pullbacks.", due)
    value, pullbacks = result
    if not isinstance(pullbacks, tuple) or len(pullbacks) != 2 or not callable(pullbacks[0]):
        raise Wrong("A tuple of two is due: a function of g for the codebook, and None for the labels.", due)
    if value is Ellipsis:
        raise NotWritten
    return value, pullbacks[0]


def name_lookup_mistake(came):
    """Raise for the classic wrong gradients of the codebook, where DUE is right."""
    counts = np.array([1, 4, 1, 1])
    mistakes = {
        "It takes the mean of the members. Each use adds its own gradient: the sum.": DUE / counts,
        "Each centroid got the gradient of only one member: the others were overwritten. `+=` with a list of "
        "labels adds once; np.add.at adds each time.": np.array([2.0, 1.0, 4.0, 0.0]),
        "It counts the members, and g is not used. A pullback carries the incoming gradient on.":
            np.array([1.0, 4.0, 1.0, 0.0]),
        "It multiplies by the centroid. The map is linear, y = A · c: its slope is 1, not c.": DUE * CODEBOOK,
    }
    if came.shape == (4,):
        recognise(came, mistakes, {"yours": came, "due": DUE})
        if np.allclose(np.nan_to_num(came), DUE / counts) and np.isnan(came).any():
            raise Wrong("It takes the mean of the members, 0/0 for the one without. Each use adds: the sum.")
    if came.shape == (3,):
        says = "The last centroid has no members, but a gradient: 0. For np.bincount: minlength=len(codebook)"
        raise Wrong(says, {"yours": "shape (3,)", "due": "shape (4,)"})
    if came.shape == LABELS.shape:
        raise Wrong("It gives one gradient for each weight. One for each centroid is due: add up.")


# --- 15.6: the best cuts by trying them all, and the cuts of classic mistakes ----------------------


def pieces(x, cuts):
    """Sorted numbers, cut before the places `cuts`."""
    return np.split(np.array(x), list(cuts))


def squares(piece):
    return ((piece - piece.mean()) ** 2).sum()


def best_cuts(x, k, cost=squares):
    """The slow oracle: of all ways to cut the sorted numbers into k pieces, the one with the smallest sum of costs."""
    every = itertools.combinations(range(1, len(x)), k - 1)
    return min(every, key=lambda cuts: sum(cost(piece) for piece in pieces(x, cuts)))


def means_and_labels(values, cuts):
    """What is due for these cuts: the means of the pieces, and the labels in the order of the values."""
    order = np.argsort(values)
    cut = pieces(values[order], cuts)
    labels = np.zeros(len(values), int)
    labels[order] = np.repeat(np.arange(len(cut)), [len(piece) for piece in cut])
    return np.array([piece.mean() for piece in cut]), labels


def greedy_cuts(x, k):
    """One cut after the other, each where it helps most; no cut is ever moved."""
    cuts = []
    while len(cuts) < k - 1:
        tries = [sorted({*cuts, at}) for at in range(1, len(x)) if at not in cuts]
        cuts = min(tries, key=lambda some: sum(squares(piece) for piece in pieces(x, some)))
    return cuts


def cuts_of_the_last_row(x, k):
    """The walk back through the notes of k pieces only, as if they were also those of k − 1, k − 2, ... pieces."""
    cuts = [len(x)]
    while len(cuts) < k:
        j = cuts[0]
        cuts.insert(0, best_cuts(x[:j], k)[-1] if j >= k else 0)
    return cuts[:-1]


def cut_mistakes(values, k):
    """{sentence: centroids} for answers that are cut elsewhere."""
    x, n = np.sort(values), len(values)
    found = {
        "It cuts one cluster after the other, each where it helps most. The best two cuts need not contain the "
        "best one: look up the best m − 1 clusters of the first i numbers.": greedy_cuts(x, k),
        "It cuts at the widest gaps. Squared error also asks how many numbers stand on each side.":
            sorted(np.argsort(np.diff(x))[n - k :] + 1),
        "It gives each cluster equally many numbers. Squared error asks for near ones.":
            [n * m // k for m in range(1, k)],
        "It makes the sum of |x − c| small. Squared error is due.":
            best_cuts(x, k, lambda piece: abs(piece - np.median(piece)).sum()),
        "It adds the mean squared error of each piece, so a large piece counts as much as a small one. "
        "The sum over all numbers is due.": best_cuts(x, k, lambda piece: squares(piece) / len(piece)),
        "The walk back always reads the notes of the last row. After the last of k pieces comes the last of k − 1: "
        "keep the notes of every row, and go up one row each time.": cuts_of_the_last_row(x, k),
    }  # fmt: skip
    return {says: means_and_labels(values, cuts)[0] for says, cuts in found.items() if cuts[0] > 0}


def ask_exact(ex, values, k):
    """Centroids and labels of the answer, as arrays, given values that it must not change."""
    values.setflags(write=False)
    result = ex(values, k)
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise Wrong("Two arrays are due: return centroids, labels", {"yours": type(result).__name__})
    return result


# --- 15.7: the assignment matrix in full, and classic mistakes -------------------------------------


def assignment(labels, signs, n_values):
    """A, entry by entry: in row i the sign of weight i stands in the column of its label."""
    A = np.zeros((labels.size, n_values))
    for i, (label, sign) in enumerate(zip(labels.reshape(-1), signs.reshape(-1))):
        A[i, label] = sign
    return A


def projection(weight, labels, signs, n_values, keep):
    """The oracle: c with the smallest ‖θ − A c‖² over the rows that are kept, by NumPy's least squares."""
    A = assignment(labels, signs, n_values)[keep.reshape(-1)]
    return np.linalg.lstsq(A, weight.reshape(-1)[keep.reshape(-1)].astype(float), rcond=None)[0]


def projection_mistakes(weight, labels, signs, n_values, keep):
    """{sentence: numbers} for the classic wrong projections."""
    A = assignment(labels, signs, n_values)
    theta, kept = weight.reshape(-1).astype(float), keep.reshape(-1)
    count, all_of_them = abs(A[kept]).sum(axis=0), abs(A).sum(axis=0)
    sums, last = A[kept].T @ theta[kept], np.zeros(n_values)
    for i in np.flatnonzero(kept):
        last[labels.reshape(-1)[i]] = signs.reshape(-1)[i] * theta[i]
    return {
        "These are the sums Aᵀθ. The VALUE nearest to its members is their mean: divide by how many there are, "
        "(AᵀA)⁻¹. (Only the gradient is a sum.)": sums,
        "The signs are not used. A weight reads ξ · c, so c is the mean of ξ · θ.":
            abs(A[kept]).T @ theta[kept] / np.maximum(count, 1),
        "The weights that are pruned are still counted. Divide by the members that are kept.":
            sums / np.maximum(all_of_them, 1),
        "It does not look at `keep`: pruned weights are no members.":
            A.T @ theta / np.maximum(all_of_them, 1),
        "Each value was taken from one member, and the others were overwritten. All members count: the mean.": last,
    }  # fmt: skip


def name_sum_of_signs(came, due, weight, labels, signs, n_values, keep):
    """Raise Wrong for Aᵀθ over Aᵀ1. It is compared where Aᵀ1 is not 0; elsewhere each answer has its own way out."""
    A = assignment(labels, signs, n_values)[keep.reshape(-1)]
    total, sums = A.sum(axis=0), A.T @ weight[keep].astype(float)
    if np.shape(came) == np.shape(due):
        there = total != 0
        says = "It divides by the sum of the signs, and so by 0 at times. ξ² = 1: AᵀA counts the members."
        mistakes = {says: sums[there] / total[there]}
        recognise(np.asarray(came)[there], mistakes, due=due[there], rtol=1e-5, atol=1e-6)


# --- figures of the notebook -----------------------------------------------------------------------


def draw_flow(net, shared, steps):
    """Weights on their way to the first centroids, and the centroids on theirs in training, for three layers."""
    _, axes = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained")
    for at, (ax, layer) in enumerate(zip(axes, ("fc1", "fc2", "fc3"))):
        weights = net.get(f"{layer}.weight").data.reshape(-1)
        labels = shared.get(f"{layer}.weight").view(nn.Codebook).labels.reshape(-1)
        paths = np.array([codebooks[at] for codebooks in steps])  # (steps + 1, K)
        colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, paths.shape[1]))
        for i in np.random.default_rng(0).choice(weights.size, 150, replace=False):
            ax.plot((-30, 0), (weights[i], paths[0, labels[i]]), color=colours[labels[i]], lw=0.5, alpha=0.6)
        for k, colour in enumerate(colours):
            ax.plot(paths[:, k], color=colour, lw=2)
        ax.axvline(0, color="0.3", lw=0.8)
        ax.set(title=layer, xlabel="k-means | training step", xticks=(0, 50, 100))
    axes[0].set_ylabel("weight, centroid")
    plt.show()


def draw_table(table, last_piece):
    """The table E[m, j] for six numbers, and the four sums of which E[3, 6] is the smallest."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3), layout="constrained", width_ratios=(3, 2))
    for (m, j), value in table.items():
        colour = "C3" if (m, j) == (3, 6) else "C0" if m == 2 and j < 6 else "0.4"
        left.text(j, m, f"{value:.4g}", ha="center", va="center", color=colour, fontsize=13)
    left.set(xlim=(0.4, 6.6), ylim=(3.6, 0.4), xticks=range(1, 7), yticks=(1, 2, 3))
    left.set(xlabel="j: the first j numbers", ylabel="m pieces", title="the table E[m, j]")
    begins, costs = list(last_piece), list(last_piece.values())
    before = [table[2, i] for i in begins]
    right.bar(begins, before, color="C0", label="E[2, i]")
    right.bar(begins, costs, bottom=before, color="C1", label="cost(i, 6)")
    for i, total in zip(begins, np.add(before, costs)):
        right.text(i, total + 2, f"{total:g}", ha="center", color="C3" if i == 4 else "0.3")
    right.set(xlabel="i: where the last piece begins", ylabel="squared error", xticks=begins, ylim=(0, 105))
    right.legend(frameon=False)
    plt.show()


def draw_assignments(choices, theta):
    """{name: A} as pictures, and below each how much of theta is lost by the nearest A c."""
    _, axes = plt.subplots(1, len(choices), figsize=(8, 3.9), layout="constrained")
    for ax, (name, A) in zip(axes, choices.items()):
        nearest = np.linalg.lstsq(A, theta, rcond=None)[0]  # (AᵀA)⁻¹ Aᵀ θ
        lost = ((theta - A @ nearest) ** 2).sum() / (theta**2).sum()
        ax.imshow(A, cmap="RdBu", vmin=-1.6, vmax=1.6, aspect="auto")
        ax.set(title=name, xlabel=f"value k\n{lost:.0%} of θ² is lost", xticks=range(4), yticks=range(12))
        ax.set_xticks(np.arange(-0.5, 4), minor=True)
        ax.set_yticks(np.arange(-0.5, 12), minor=True)
        ax.grid(which="minor", color="0.85", lw=0.6)
        ax.tick_params(which="both", length=0)
    axes[0].set_ylabel("weight i (blue: +1, red: −1)")
    plt.show()


def draw_spirals(results, arms):
    """What the best net of each plan says for every point of the plane, and the points it was trained on."""
    side = np.linspace(-1.1, 1.1, 120)
    grid = np.stack(np.meshgrid(side, side), axis=-1).astype(np.float32)  # (120, 120, 2)
    _, axes = plt.subplots(1, len(results), figsize=(10, 3.3), layout="constrained")
    for ax, (plan, found) in zip(axes, results.items()):
        best = max(found, key=lambda pair: pair[0])[1]
        accuracies = [100 * accuracy for accuracy, _ in found]
        classes = best(Tensor(grid.reshape(-1, 2))).numpy().argmax(axis=1).reshape(120, 120)
        ax.imshow(classes, extent=(-1.1, 1.1, -1.1, 1.1), origin="lower", alpha=0.6, cmap="Set2", vmin=0, vmax=7)
        ax.scatter(*arms[0][:300].T, c=arms[1][:300], s=6, cmap="Dark2", vmin=0, vmax=7)
        ax.set(title=plan, xticks=[], yticks=[])
        ax.set_xlabel(f"{np.mean(accuracies):.0f} ± {np.std(accuracies, ddof=1):.0f} %")
    plt.show()


def draw_six(six, tried):
    """K-means on six numbers, step by step; and the error of every labelling."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.2), layout="constrained")
    path = [np.array([1.0, 2.0])]
    for _ in range(3):
        path.append(lloyd_step(np.array(six), path[-1])[0])
    for at, number in enumerate(path):
        left.plot(six, [at] * 6, "o", color="0.75", ms=5)
        left.plot(number, [at] * 2, "v", color="C3", ms=9)
        left.axvline(number.mean(), ymin=0.9 - 0.25 * at - 0.07, ymax=0.9 - 0.25 * at + 0.07, color="C0", ls=":")
    left.set(xlabel="number", ylim=(3.4, -0.4))
    left.set_yticks(range(4), ["start", "step 1", "step 2", "step 3"])
    left.set_title("▼ centroids, ⋮ half way between them")
    one_cut = [(0,) * cut + (1,) * (6 - cut) for cut in range(1, 6)]  # small ones left, large ones right
    others = sorted(error for labels, error in tried.items() if labels not in one_cut)
    right.plot(range(1, 6), [tried[labels] for labels in one_cut], "o-", color="C3", label="the 5 cuts in order")
    right.plot([5.6] * len(others), others, "_", color="0.6", ms=12, label="the other 59")
    right.set(xlabel="numbers in the left cluster", ylabel="squared error", xticks=range(1, 6), ylim=(0, 195))
    right.legend(frameon=False, loc="upper center")
    plt.show()


def draw_product(theta, A, g, labels):
    """A 4×4 layer, its assignment matrix, and the gradient's way back; one colour for each centroid."""
    colours = plt.get_cmap("Set2")(np.arange(3))[:, :3]  # one for each centroid
    gradient = (A.T @ g.reshape(-1))[:, None]
    panels = {
        "θ, 4×4": (theta, colours[labels]),
        "A, 16×3": (A, np.where(A[:, :, None] > 0, colours, 1.0)),
        "g = ∂L/∂θ": (g, colours[labels]),
        "Aᵀ·g": (gradient, colours[:, None]),
    }
    _, axes = plt.subplots(1, 4, figsize=(9.5, 3.2), layout="constrained", width_ratios=(4, 2, 4, 2))
    for ax, (title, (array, tint)) in zip(axes, panels.items()):
        ax.imshow(tint, aspect="auto" if array is A else "equal")
        for (row, column), number in np.ndenumerate(array):
            ax.text(column, row, f"{number:g}", ha="center", va="center", fontsize=7 if array is A else 11)
        ax.set(xticks=[], yticks=[], title=title)
    plt.show()


def draw_bytes(files, whole):
    """Accuracy against the bytes of the file, {way: [(Quality, bytes), ...]}; a dashed line for the whole net."""
    _, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for name, points in files.items():
        kilobytes = [n_bytes / 1000 for _, n_bytes in points]
        heights, bars = [100 * q.accuracy for q, _ in points], [100 * q.standard_error for q, _ in points]
        ax.errorbar(kilobytes, heights, bars, fmt="o-", capsize=2, label=name)
    quality, n_bytes = whole
    ax.axhline(100 * quality.accuracy, color="0.6", ls="--", lw=1, label=f"not shared, {n_bytes / 1000:.0f} kB")
    ax.set(xlabel="size of the file, kB", ylabel="test accuracy, %", xlim=(0, None))
    ax.legend(frameon=False, loc="lower right")
    plt.show()


def draw_ways(measured, n_weights):
    """{way: (Quality as made, after training, counts of different values, style)}: bars, and the counts by step."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    for at, (name, (made, tuned, counts, style)) in enumerate(measured.items()):
        for shift, found, colour in ((-0.2, made, "0.6"), (0.2, tuned, style[:2])):
            bar = left.bar(at + shift, 100 * found.accuracy, 0.38, yerr=100 * found.standard_error, color=colour)
            left.bar_label(bar, fmt="%.0f", fontsize=9, padding=2)
        right.plot(range(1, 1 + len(counts)), counts, style, lw=2, label=name.replace("\n", " "))
    left.set(xticks=range(len(measured)), xticklabels=list(measured), ylabel="test accuracy, %", ylim=(0, 115))
    left.set_title("grey: as made; in colour: after one epoch")
    right.axhline(n_weights, color="0.6", lw=1)
    right.text(14, n_weights * 1.3, f"all {n_weights:,} different", fontsize=9, ha="center")
    right.set(xlabel="training step", ylabel="different values in fc1", yscale="log", ylim=(5, 2e6))
    right.legend(frameon=False, fontsize=9, loc="center", bbox_to_anchor=(0.5, 0.38))
    plt.show()


def draw_bits(bits, curves, sizes, whole, whole_bytes):
    """Accuracy against the bits of a label, {name: [Quality, ...]}, and the sizes of the files."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.5), layout="constrained", width_ratios=(3, 2))
    for shift, (name, points) in zip((-0.04, 0.04), curves.items()):
        heights, bars = [100 * q.accuracy for q in points], [100 * q.standard_error for q in points]
        left.errorbar(bits + shift, heights, bars, fmt="o-", ms=4, capsize=2, label=name)
    left.axhline(100 * whole.accuracy, color="0.6", ls="--", lw=1, label="32 bits, not shared")
    left.set(xlabel="bits of a label", ylabel="test accuracy, %", xticks=bits)
    left.legend(frameon=False, fontsize=9)
    kilobytes = [n / 1000 for n in (*sizes, whole_bytes)]
    bars = right.bar([*bits.astype(str), "32"], kilobytes, color=["C0"] * 5 + ["0.6"])
    right.bar_label(bars, fmt="%.0f", fontsize=9)
    right.set(xlabel="bits of a label", ylabel="kB, log scale", yscale="log", title="the file", ylim=(10, 3000))
    plt.show()


def draw_starts(tables):
    """{layer: rows of `compare_starts`}: how far above the optimum each start is, before k-means and after."""
    figure, axes = plt.subplots(1, len(tables), figsize=(9.5, 3.5), layout="constrained", sharey=True)
    kinds = list(dict.fromkeys(row["start"] for rows in tables.values() for row in rows if row["start"] != "exact"))
    for ax, (layer, rows) in zip(axes, tables.items()):
        for row in rows[:-1]:  # the last is the optimum
            at = kinds.index(row["start"])
            ax.plot(at - 0.12, 100 * (row["before"] - 1), "o", color="0.6", ms=6, alpha=0.7)
            ax.plot(at + 0.12, 100 * (row["after"] - 1), "D", color="C0", ms=6, alpha=0.7)
        ax.set(yscale="log", title=f"{layer}, 16 clusters", xlim=(-0.5, len(kinds) - 0.5))
        ax.set_xticks(range(len(kinds)), kinds)
    axes[0].set_ylabel("squared error above the best, %")
    axes[0].plot([], [], "o", color="0.6", label="at the start")
    axes[0].plot([], [], "D", color="C0", label="after k-means")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    plt.show()
