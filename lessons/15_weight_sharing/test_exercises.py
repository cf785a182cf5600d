"""The exercises of lesson 15 and their tests. Each test's docstring is the property that it asks for.

Glossary: x numbers, c centroids (the codebook), K their number, g incoming gradient ∂L/∂y, A assignment, ξ signs.
"""

import math
from pathlib import Path

import numpy as np

from tinyopt import Tensor, codec, compress, nn, ops
from tinyopt.compress.hashed import hash_weights, shared_means
from tinyopt.compress.kmeans_exact import compare_starts, exact_kmeans
from tinyopt.compress.share import lloyd_step
from tinyopt.course import Wrong, exercise, recognise, same, task, two_arrays
from tinyopt.course.compare import NotWritten
from tinyopt.course.lessons import load
from tinyopt.nn.hashed import hashed_labels, hashed_signs

material = load(Path(__file__).with_name("material.py"))


# --- 15.1 two steps, by hand -----------------------------------------------------------------------

exercise(
    "15.1",
    material.predict,
    hides=[lloyd_step, compress.kmeans],
    proves="You found by hand where k-means goes: label by the nearest, then take the mean, and again.",
)
NAMES = ("low after step 1", "high after step 1", "low after step 2", "high after step 2")


@task("15.1", points=2, hints=[
    "Half way between 3 and 12 is 7.5. Which numbers are left of it? Those belong to the centroid 3.",
    "The new centroid is the mean of its members: for the left one, (0 + 3 + 6 + 7) / 4.",
    "For the second step, find the half-way point of the two NEW centroids. One number changes its side.",
])  # fmt: skip
def test_the_four_centroids(ex):
    """In each step a number goes to the nearest centroid, and a centroid to the mean of its members."""
    came, due = ex(), np.array(ex.reference())
    flat = [number for part in came for number in np.atleast_1d(np.array(part, dtype=object)).reshape(-1)]
    if any(number is Ellipsis for number in flat):
        raise NotWritten
    if len(flat) != 4:
        raise Wrong("Four numbers are due: return low_1, high_1, low_2, high_2", {"yours": repr(came)})
    came = np.array(flat, dtype=float)
    recognise(came, {
        "Nothing moved in your second step. The half-way point has moved to 6.25. Where is 7?": due[[0, 1, 0, 1]],
        "Your last two are those after the third step. In the second, one number moves.": (*due[:2], 1.5, 7.5),
        "The numbers are right, but high stands where low is due.": due[[1, 0, 3, 2]],
    })  # fmt: skip
    for wrong in ((3.5, 8.5), (4.5, 8.5)):  # of the ends, or the median
        says = "The mean is not the middle number, nor the middle of the ends: add up, and divide."
        recognise(came[:2], {says: wrong})
    recognise(came[:2], {
        "These are sums. A centroid is the mean of its members: divide by how many there are.": (16, 17),
        "The old centroid was averaged, too. It is no member: a mean is over the numbers alone.": (3.8, 29 / 3),
        "Your first two are the centroids at the beginning. Those after the first step are due.": material.START,
    }, rtol=0.01)  # fmt: skip
    same(came, due, "a centroid", labels=NAMES)


# --- 15.2 one step of k-means ----------------------------------------------------------------------

exercise(
    "15.2",
    lloyd_step,
    hides=[compress.kmeans],
    proves="Your step never makes the squared error larger, so in the end it stands still: that is k-means.",
)


@task("15.2", points=2, hints=[
    "Where does a centroid end and the next one begin? Half way: (centroids[1:] + centroids[:-1]) / 2.",
    "np.searchsorted(x, those half-way points) says how many of the sorted numbers lie left of each.",
    "Or with all distances: abs(x[:, None] - centroids).argmin(axis=1) are the labels; np.bincount(labels).",
])  # fmt: skip
def test_lloyd_step_by_hand(ex):
    """On the six numbers of the lesson, from 1 and 2, the means are 0.5 and 8, of 2 and 4 numbers."""
    means, counts = material.ask_step(ex, np.array([0.0, 1, 2, 5, 12, 13]), np.array([1.0, 2.0]))
    recognise((means, counts), {"Means and counts are exchanged: return means, counts": [(2, 4), (0.5, 8)]})
    recognise(means, {
        "These are the sums of the members. Divide by the counts.": (1, 32),
        "Here k-means ends. Only one step is due: label once, take the means once.": (2, 12.5),
        "The centroids have not moved. Each goes to the mean of its members.": (1, 2),
    })  # fmt: skip
    recognise(counts, {"These counts are running totals. Take differences: np.diff.": (2, 6)})
    same(means, [0.5, 8.0], "the row of new centroids")
    same(counts, [2, 4], "the number of members")


@task("15.2", points=2, hints=[
    "Compare with the nearest centroid of each number. Cut half way between NEIGHBOURS, not at centroids.",
])  # fmt: skip
def test_lloyd_step_of_any_size(ex):
    """Each number belongs to its nearest centroid, for one centroid as for five."""
    x = np.sort(np.random.default_rng(1).normal(size=40)).round(2)
    for centroids in ([-2.01, -0.313, 0.107, 0.457, 1.703], [0.3], [-0.713, 0.905]):
        centroids = np.array(centroids)
        due_means, due_counts = material.step_by_distances(x, centroids)
        means, counts = material.ask_step(ex, x, centroids)
        left_borders = material.cut_at_centroids(x, centroids)
        if not np.array_equal(left_borders, due_counts) and np.array_equal(counts, left_borders):
            raise Wrong("It cuts at the centroids themselves. The border lies half way between two of them.")
        same(counts, due_counts, f"the number of members of {len(centroids)} centroids")
        same(means, due_means, f"the row of {len(centroids)} new centroids")


@task("15.2", points=2, hints=[
    "Some counts may be 0. Look for them before you divide.",
    "filled = counts > 0 is True for the clusters that stay; means[filled] leaves the others out.",
    "np.add.reduceat does not know of empty pieces: give it only the beginnings of those that are filled.",
])  # fmt: skip
def test_lloyd_step_drops_empty_clusters(ex):
    """A centroid that is nearest to nothing is dropped: first, in the middle, or last."""
    x = np.array([0.0, 1, 2, 10, 11, 12])
    for centroids in ([1.3, 6.1, 11.2], [-20.0, 1.3, 11.2], [1.3, 11.2, 50.0], [-9.0, -8.0, 1.3, 11.2, 40.0]):
        means, counts = material.ask_step(ex, x, np.array(centroids))
        found = np.array([number for number in np.atleast_1d(np.array(means, dtype=object)).reshape(-1)])
        if not any(number is Ellipsis for number in found) and np.isnan(found.astype(float)).any():
            raise Wrong("A cluster without members gave 0/0, which is NaN. Leave it out of both arrays.")
        if np.shape(means) == np.shape(centroids) and np.ndim(means) == 1:
            facts = {"centroids": centroids, "yours": f"{len(means)} clusters", "due": "2 clusters"}
            raise Wrong("An empty cluster was not dropped. Nothing is nearest to it, so leave it out.", facts)
        same(means, [1.0, 11.0], f"the row of new centroids, from {centroids}")
        same(counts, [3, 3], f"the number of members, from {centroids}")


@task("15.2")
def test_lloyd_step_runs_kmeans(ex):
    """Repeated by the package's kmeans, your step ends where no number wants to move."""
    values = np.array([0.0, 5.1, 0.2, 5.0, -0.2, 9.0])
    means, counts = material.ask_step(ex, np.sort(values), np.array([0.0, 5.0, 9.0]))
    for name, array, kinds in (("means", means, "f"), ("counts", counts, "iu")):
        if getattr(array, "dtype", np.dtype(object)).kind not in kinds:
            due = "a NumPy array of floats" if kinds == "f" else "a NumPy array of integers"
            facts = {"yours": f"{type(array).__name__} {getattr(array, 'dtype', '')}".strip(), "due": due}
            raise Wrong(f"kmeans goes on with your {name}, so they must be {due}.", facts)
    with ex.curtain.lifted():  # kmeans is the package's own here; the step in it is the answer
        with ex.installed():
            centroids, labels = compress.kmeans(values, 3)
    same(centroids, [0.0, 5.05, 9.0], "the row of centroids that kmeans found")
    same(labels, [0, 1, 0, 1, 0, 2], "the row of labels that kmeans found")


# --- 15.3 lookup -----------------------------------------------------------------------------------

exercise(
    "15.3",
    ops.lookup,
    hides=[ops.getitem],
    proves="Your pullback sums over the members, as Aᵀ·g does: centroids are trained with the true gradient.",
)
CODEBOOK, LABELS, G = material.CODEBOOK, material.LABELS, material.G


@task("15.3", hints=["An array can stand in the brackets: codebook[labels] has the shape of labels."])
def test_lookup_value(ex):
    """Each weight is the centroid that its label says, in the labels' shape."""
    value, _ = material.ask_rule(ex, CODEBOOK, LABELS)
    same(value, [[-1.0, 0.5, 0.5], [0.5, 2.0, 0.5]], "the value")


@task("15.3", points=3, hints=[
    "The centroid 0.5 is read four times: its gradient is the sum of four gradients.",
    "np.bincount(labels.reshape(-1), weights=g.reshape(-1), minlength=K) adds up the weights of each label.",
    "`sums[labels] += g` adds once where a label occurs twice. np.add.at(sums, labels, g) adds each time.",
])  # fmt: skip
def test_lookup_pullback_sums_over_members(ex):
    """The gradient of a centroid is the sum of its members' gradients, and 0 if it has none."""
    _, pullback = material.ask_rule(ex, CODEBOOK, LABELS)
    came = pullback(G)
    if came is None:
        raise Wrong("The pullback gives None. Is a `return` missing?")
    if came is not Ellipsis:
        material.name_lookup_mistake(np.array(came, dtype=float))
    slope = lambda index: float((G * (LABELS == index[0])).sum())  # linear: the difference is exact
    same(came, material.DUE, "the gradient of the codebook", slope=slope)


@task("15.3", hints=["np.bincount counts in float64. sums.astype(codebook.dtype) gives the codebook's type."])
def test_lookup_keeps_the_type(ex):
    """The value and the gradient have the codebook's type: float32 in, float32 out; float64 in, float64 out."""
    for kind in ("float32", "float64"):
        value, pullback = material.ask_rule(ex, CODEBOOK.astype(kind), LABELS.copy())
        for name, array in (("value", value), ("gradient", pullback(G.astype(kind)))):
            if array is Ellipsis:
                raise NotWritten
            if getattr(array, "dtype", None) != kind:
                facts = {"codebook": kind, "yours": getattr(array, "dtype", type(array).__name__), "due": kind}
                raise Wrong(f"The {name} has another type. Take that of the codebook: codebook.dtype.", facts)


@task("15.3")
def test_lookup_runs_inside_the_engine(ex):
    """A layer that reads its weight through your lookup has the gradient Aᵀ · g."""
    layer = nn.Linear(3, 2, bias=False, rng=0)
    x = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=np.float32)
    layer.weight.data = CODEBOOK.astype(np.float32)
    layer.weight.attach(nn.Codebook(LABELS))
    with ex.installed():
        (layer(Tensor(x)) * Tensor(np.array([[1.0, -2.0]], dtype=np.float32))).sum().backward()
    A = (LABELS.reshape(-1, 1) == np.arange(4)).astype(float)  # (6, 4)
    g = np.outer([1.0, -2.0], x.sum(axis=0))
    same(layer.weight.grad, A.T @ g.reshape(-1), "the gradient of the codebook in a layer", rtol=1e-5)


# --- 15.4 bits -------------------------------------------------------------------------------------

exercise("15.4", codec.bits_needed, proves="Your count is exact: so many bits a label, and not one more.")


@task("15.4", points=2, hints=[
    "Count up: b = 0 gives 1 label, b = 1 gives 2, b = 2 gives 4. Stop at the first b with 2**b >= n_values.",
    "Whole numbers know their length in binary: (5).bit_length() is 3. The largest label is n_values - 1.",
])  # fmt: skip
def test_bits_of_small_numbers(ex):
    """It is the smallest b with 2ᵇ ≥ n: exact at powers of two, and just above them."""
    due = {n: next(b for b in range(9) if 2**b >= n) for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 200, 256)}
    came = {n: ex(n) for n in due}
    if all(came[n] == b + (not n & (n - 1)) for n, b in due.items()):
        raise Wrong("At powers of two it is one bit too many: labels begin with 0, the largest of 16 is 15.")
    if all(came[n] == int(math.log2(n)) for n in due):
        raise Wrong("It rounds down: 5 values do not fit into 2 bits. Round up.")
    if came[1] == 1 and all(came[n] == due[n] for n in due if n > 1):
        raise Wrong("One value needs no label at all: 0 bits.")
    for n, b in due.items():
        if isinstance(came[n], float) and came[n] % 1:
            raise Wrong("A label has a whole number of bits: round up.", {"n": n, "yours": came[n], "due": b})
        same(came[n], b, f"the number of bits for {n} values")


@task("15.4", hints=["math.log2 works in floats: of 2**49 + 1 it gives exactly 49. Use whole numbers only."])
def test_bits_are_exact_for_large_numbers(ex):
    """Just above a large power of two, one more bit is due; floats cannot see it."""
    for power in (10, 20, 49):
        if ex(2**power + 1) == power:
            raise Wrong(f"2**{power} + 1 values do not fit into {power} bits. A float has rounded.")
        same(ex(2**power + 1), power + 1, f"the number of bits for 2**{power} + 1 values")
        same(ex(2**power), power, f"the number of bits for 2**{power} values")


# --- 15.5 explain this failure ---------------------------------------------------------------------

exercise(
    "15.5",
    material.witness,
    proves="You found why the test passed: in clusters of one size, the mean is the sum times one factor.",
)


@task("15.5", hints=["Two arrays of 6: labels such as np.array([0, 0, 1, 1, 2, 2]), and g, any six numbers."])
def test_witness_has_the_right_form(ex):
    """The witness is a pair: six labels among 0, 1, 2, each of which occurs, and six finite numbers."""
    labels, g = two_arrays(ex(), "labels", "g")
    for name, array in (("labels", labels), ("g", g)):
        if array.shape != (6,):
            raise Wrong(f"{name} should be six numbers in a row.", {"yours": f"shape {array.shape}"})
    if sorted(set(labels.tolist())) != [0, 1, 2]:
        raise Wrong("Labels are 0, 1 and 2, and each must occur.", {"yours": labels.tolist()})


@task("15.5", points=2, hints=[
    "The mean divides the sum of cluster k by its number of members n[k]. When is that one factor for all?",
    "Clusters of unequal size have unequal factors. Take four members for one centroid, one for each other.",
    "But a centroid whose gradients sum to 0 shows nothing: 0 / 4 is 0 too. Two sums must differ from 0.",
])  # fmt: skip
def test_witness_shows_the_mistake(ex):
    """On these labels and gradients, the mean and the sum differ in direction by 15 degrees or more."""
    labels, g = (np.array(array) for array in ex())
    if any(number is Ellipsis for number in (*labels.tolist(), *g.tolist())):
        raise NotWritten
    labels, g = labels.astype(int), g.astype(float)
    mean, total = material.both(labels, g)
    facts = {"mean": mean.round(4), "sum": total.round(4)}
    if not g.any():
        raise Wrong("g is 0. A gradient is linear in g, so any rule, right or wrong, gives 0.")
    if len(set(np.bincount(labels, minlength=3).tolist())) == 1:
        raise Wrong("Each centroid has two members, as in the friend's test: the factor is one half.", facts)
    if (abs(total) > 1e-9).sum() < 2:
        raise Wrong("The gradients cancel: only one sum is not 0, so only one factor shows.", facts)
    found = material.angle(mean, total)
    if found < 15:
        facts["angle"] = f"{found:.1f} degrees"
        raise Wrong("The directions differ too little. Let unequal clusters have similar sums.", facts)


# --- 15.6 the best k-means there is ----------------------------------------------------------------

exercise(
    "15.6",
    exact_kmeans,
    hides=[compress.kmeans, lloyd_step],
    proves="No grouping is better than yours: now you know how far from the best any other one is.",
)
SIX = np.array([0.0, 1, 2, 5, 12, 13])


@task("15.6", points=2, hints=[
    "Sort: order = np.argsort(values); x = values[order]. The cost of a piece x[i:j] is its squared error.",
    "Fill E[m, j] for m = 1, 2, ..., k: try each i from m − 1 to j − 1, and note which was best in begin[m, j].",
    "Walk back: the last piece begins at i = begin[k, n], the one before it at begin[k − 1, i], and so on.",
])  # fmt: skip
def test_exact_kmeans_by_hand(ex):
    """The six numbers of the lesson in 3 clusters are {0, 1, 2}, {5}, {12, 13}; in 2, the last two stand apart."""
    for k, centroids, labels in ((3, (1, 5, 12.5), (0, 0, 0, 1, 2, 2)), (2, (2, 12.5), (0, 0, 0, 0, 1, 1))):
        came, mine = material.ask_exact(ex, SIX.copy(), k)
        if np.shape(came) == (6,) and np.shape(mine) == (k,):
            raise Wrong("Centroids and labels are exchanged: return centroids, labels")
        recognise(came, {"From the largest to the smallest: ascending is due.": centroids[::-1]})
        recognise(came, {"A number is missing: the last one. x[i:j] ends before x[j].": (*centroids[:-1], 12)})
        same(came, centroids, f"the row of {k} centroids")
        same(mine, labels, f"the row of labels for {k} clusters")


@task("15.6", points=4, hints=[
    "Compare with all cuts on paper for 5 numbers. E[m, j] is the smallest E[m − 1, i] + cost(i, j).",
    "E[0, 0] is 0 and E[0, j] is infinite for j > 0: nothing cannot hold a number. Then one rule fills all rows.",
])  # fmt: skip
def test_exact_kmeans_is_the_best(ex):
    """No way to cut the sorted numbers has a smaller squared error; values come in any order."""
    for seed, n, k in ((28, 11, 3), (299, 11, 4), (11, 9, 2), (47, 8, 5)):
        values = np.random.default_rng(seed).standard_t(3, n).round(2)
        centroids, labels = material.means_and_labels(values, material.best_cuts(np.sort(values), k))
        came, mine = material.ask_exact(ex, values, k)
        recognise(came, material.cut_mistakes(values, k), due=centroids)
        with ex.curtain.lifted():
            stuck = [compress.kmeans(values, k, start="random", rng=seed)[0] for seed in range(20)]
            stuck.append(compress.kmeans(values, k)[0])
        for valley in stuck:
            says = "Lloyd's steps can stop here. But there is a better grouping: try all places of the last cut."
            recognise(came, {says: valley}, due=centroids)
        same(came, centroids, f"the row of centroids of {n} numbers in {k} clusters")
        recognise(mine, {
            "These labels belong to the sorted numbers. Each value's own is due: labels[order[i:j]] = m.":
                np.sort(labels),
            "The labels were carried back the wrong way: result = sorted_labels[order] sorts once more. Write to the "
            "places: result[order] = sorted_labels.": np.sort(labels)[np.argsort(values)],
        }, due=labels)  # fmt: skip
        recognise(mine, {"Labels count from 0: the first cluster has the label 0.": labels + 1})
        same(mine, labels, f"the row of labels of {n} numbers in {k} clusters")


@task("15.6", hints=["The first row of the table is one piece from 0 to j; the last piece may hold one number."])
def test_exact_kmeans_at_the_ends(ex):
    """In one cluster the centroid is the mean; in as many as there are numbers, each is its own centroid."""
    values = np.array([3.0, -1.0, 4.5, 0.25])
    for k, centroids, labels in ((1, [values.mean()], [0, 0, 0, 0]), (4, np.sort(values), [2, 0, 3, 1])):
        came, mine = material.ask_exact(ex, values.copy(), k)
        same(came, centroids, f"the row of centroids for k = {k}")
        same(mine, labels, f"the row of labels for k = {k}")


@task("15.6")
def test_exact_kmeans_judges_the_starts(ex):
    """In `compare_starts`, your optimum is the measure: no start of k-means comes out below it."""
    values = np.random.default_rng(4).normal(size=24)
    for array, kinds in zip(material.ask_exact(ex, values.copy(), 5), ("f", "iu")):
        if getattr(array, "dtype", np.dtype(object)).kind not in kinds:
            due = {"f": "centroids: an array of floats", "iu": "labels: an array of integers"}[kinds]
            raise Wrong("compare_starts goes on with your arrays.", {"yours": type(array).__name__, "due": due})
    with ex.curtain.lifted(), ex.installed():
        rows = compare_starts(values, 5)
    below = [row["start"] for row in rows if row["after"] < 1 - 1e-9]
    if below:
        raise Wrong("A start of k-means ended below your optimum.", {"starts": below})


# --- 15.7 the nearest hashed weights ---------------------------------------------------------------

exercise(
    "15.7",
    shared_means,
    proves="Your values are the projection (AᵀA)⁻¹Aᵀθ: a mean. The gradient is Aᵀg: a sum. Now you have both.",
)


def _due(weight, n_values, seed, signed=True, keep=None):
    """(What is due, the classic mistakes, the arguments of both), from the assignment matrix in full."""
    keep = np.ones(weight.shape, bool) if keep is None else keep
    labels = hashed_labels(weight, weight.shape, n_values, seed)
    signs = hashed_signs(weight, weight.shape, seed) if signed else np.ones_like(weight)
    given = weight, labels, signs, n_values, keep
    return material.projection(*given), material.projection_mistakes(*given), given


def _compare(ex, weight, n_values, seed, **settings):
    weight.setflags(write=False)
    due, mistakes, given = _due(weight, n_values, seed, **settings)
    with np.errstate(divide="ignore", invalid="ignore"):
        came = ex(weight, n_values, seed, **settings)
    recognise(came, mistakes, due=due, rtol=1e-5, atol=1e-6)
    material.name_sum_of_signs(came, due, *given)
    if np.ndim(came) == 1 and len(came) < n_values:
        says = "A value that no weight reads is missing; it is 0. For np.bincount: minlength=n_values"
        raise Wrong(says, {"yours": f"{len(came)} values", "due": f"{n_values} values"})
    if np.shape(came) == weight.shape:
        raise Wrong("It gives one number for each weight. One for each of the K values is due: add up over members.")
    recognise(np.isnan(np.array(came, dtype=float)), {
        "A value that no weight reads gave 0/0, which is NaN. It is 0: divide by np.maximum(counts, 1).":
            abs(due) < 1e-12 if (abs(due) < 1e-12).any() else ()})  # fmt: skip
    same(came, due, "the row of shared values", rtol=1e-5, atol=1e-6)


@task("15.7", points=3, hints=[
    "Without signs, c[k] is the mean of the weights with the label k: sums by np.bincount with weights=.",
    "With signs: θ[i] ≈ ξ[i] · c. Multiply by ξ[i]: ξ[i] · θ[i] ≈ c. So c is the mean of ξ · θ.",
    "np.bincount(labels.reshape(-1), weights=(signs * weight).reshape(-1), minlength=n_values), over the counts.",
])  # fmt: skip
def test_shared_means_are_the_projection(ex):
    """The values have the smallest squared error ‖θ − A c‖² of all, with the signs in A and without them."""
    for seed, shape, k in ((1, (4, 5), 3), (2, (30,), 4), (3, (2, 3, 3, 3), 5)):
        weight = np.random.default_rng(seed).normal(size=shape)
        _compare(ex, weight, k, seed)
        _compare(ex, weight, k, seed, signed=False)


@task("15.7", points=2, hints=[
    "A pruned weight adds nothing to the sum, and nothing to the count.",
    "counts = np.bincount(labels[keep], minlength=n_values)",
])  # fmt: skip
def test_shared_means_of_survivors(ex):
    """Pruned weights are no members: neither of the sum nor of the count."""
    rng = np.random.default_rng(6)
    weight, keep = rng.normal(size=(5, 6)), rng.random((5, 6)) < 0.6
    _compare(ex, weight, 4, 9, keep=keep)


@task("15.7", hints=["With 40 values for 12 weights, many are read by nobody. Their count is 0."])
def test_shared_means_that_nobody_reads(ex):
    """A value that no weight reads is 0, also the last one, and there are always n_values of them."""
    _compare(ex, np.random.default_rng(2).normal(size=(3, 4)), 40, 2)


@task("15.7", hints=["np.bincount adds in float64; .astype(weight.dtype) gives the weight's type."])
def test_shared_means_run_inside_hash_weights(ex):
    """hash_weights puts your values into a layer, as float32; what the layer reads is nearest to its weight."""
    layer = nn.Linear(6, 5, rng=0)
    before = layer.weight.data.copy()
    values = ex(before, 4, 0)
    if getattr(values, "dtype", None) != np.float32:
        kind = getattr(values, "dtype", type(values).__name__)
        raise Wrong("The values have another type than the weight.", {"yours": kind, "due": "float32"})
    with ex.installed():
        hash_weights(layer, 4, start="means")
    A = material.assignment(hashed_labels(before, before.shape, 4, 0), hashed_signs(before, before.shape, 0), 4)
    due = (A @ _due(before, 4, 0)[0]).reshape(before.shape)
    same(layer.weight.read().numpy(), due, "the weight that the layer reads", rtol=1e-5, atol=1e-6)
