"""The exercises of lesson 16 and their tests. Each test's docstring is the property that it asks for.

Glossary: counts, how often each symbol occurs; length, of its code, in bits; gap, the zeros before a value.
"""

from pathlib import Path

import numpy as np

from tinyopt import codec
from tinyopt.codec import huffman, sparse
from tinyopt.course import Wrong, exercise, recognise, same, task
from tinyopt.course.compare import NotWritten
from tinyopt.course.lessons import load

material = load(Path(__file__).with_name("material.py"))
COUNTS, FRIEND, kraft = material.COUNTS, material.FRIEND, material.kraft


def cost(counts, lengths):
    return int(np.dot(np.asarray(counts), np.asarray(lengths, dtype=int)))


# --- 16.1 a code, by hand ----------------------------------------------------------------------------

exercise(
    "16.1",
    material.predict,
    hides=[codec.code_lengths, huffman.tree_depths, huffman._package_merge],
    proves="You built Huffman's tree on paper: its lengths and its bits are those that the package finds.",
)


def two_parts(answer):
    """The lengths as whole numbers, and the total."""
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong("Two things are due: return lengths, total", {"yours": repr(answer)})
    lengths, total = answer
    if any(part is Ellipsis for part in list(lengths)):
        raise NotWritten
    if np.shape(lengths) != (5,):
        raise Wrong("Five lengths are due, those of a, b, c, d, e.", {"yours": repr(lengths)})
    return np.array(lengths, dtype=float), total


@task("16.1", hints=[
    "Write the five counts in a row. Strike out the two smallest, write their sum in their place. Repeat.",
    "The first merger is d and e: 3 + 1 = 4. Now the row is 7, 5, 4, 4. Which two are the smallest?",
    "7, 5, 4, 4 → 7, 5, 8 → 12, 8 → 20. A symbol's length is the number of mergers that it takes part in.",
])  # fmt: skip
def test_lengths_by_hand(ex):
    """Each length is the number of mergers that the symbol takes part in."""
    lengths, _ = two_parts(ex())
    due, _ = ex.reference()
    facts = {"yours": lengths.astype(int).tolist(), "bits": cost(COUNTS, lengths), "counts": COUNTS}
    for shift, says in (-1, "short: the last merger counts, too."), (1, "long: only mergers count."):
        if (lengths == np.add(due, shift)).all():
            raise Wrong(f"Every length is one too {says}", facts)
    if (lengths < 1).any() or kraft(lengths) > 1:
        says = "There is no room for these codes: Σ 2^−length is above 1. One code would begin another."
        raise Wrong(says, {"yours": facts["yours"], "Σ 2^−length": kraft(lengths)})
    if (lengths == 3).all():
        raise Wrong("Three bits each is the code of fixed length. Frequent symbols deserve less.", facts)
    if sorted(lengths) == [1, 2, 3, 4, 4]:
        says = "You added one symbol after the other to a single chain. Merge the two smallest of the row: "
        raise Wrong(says + "after d and e, these are the 4 of c and the new 4.", facts)
    if sorted(lengths) == sorted(due) and (np.diff(lengths) < 0).any():
        raise Wrong("Right lengths, but in the wrong places: the rarest symbols get the longest.", facts)
    if cost(COUNTS, lengths) > cost(COUNTS, due):
        raise Wrong("There is a shorter code. Each time, merge the two smallest numbers of the row.", facts)
    same(lengths, due, "a code length", labels="abcde")


@task("16.1", hints=["Every a costs the length of a's code: count · length. Add over the five symbols."])
def test_total_by_hand(ex):
    """All 20 symbols together take Σ count · length bits."""
    lengths, total = two_parts(ex())
    if np.size(total) == 1 and np.allclose(float(np.squeeze(total)), lengths.sum()):
        raise Wrong("That is the sum of the five lengths. But a occurs 7 times: count · length.")
    same(total, ex.reference()[1], "the number of bits")


# --- 16.2 the bound ------------------------------------------------------------------------------------

exercise(
    "16.2",
    codec.entropy_bits,
    proves="You can say how short a file can become, before anyone has written a code for it.",
)


ENTROPY_MISTAKES = {  # for counts 8, 4, 2, 2
    "The logarithm is the natural one. Bits need base 2: np.log2.": 1.75 * np.log(2),
    "The logarithm has base 10. Bits need base 2: np.log2.": 1.75 * np.log10(2),
    "Its sign is turned. log₂ p is negative, since p is below 1.": -1.75,
    "These are the bits of all 16 symbols together. H is for one symbol.": 28.0,
    "It is the plain mean of log₂ 1/p. Each symbol counts with its own probability.": 2.25,
    "It is the sum of log₂ 1/p, each symbol once. Each counts with its own probability.": 9.0,
    "These are the bits of a code of fixed length. Frequent symbols deserve fewer.": 2.0,
}
UNDIVIDED = {"The counts are used as they are. Divide them by their sum first.": 36.0}  # or −36


@task("16.2", hints=[
    "p = counts / counts.sum(). A symbol of probability p deserves log₂ 1/p bits.",
    "The mean of these, each weighted with its own p: the sum of p · log₂ 1/p. np.log2 is the logarithm.",
])  # fmt: skip
def test_entropy_of_known_cases(ex):
    """H = Σ p log₂ 1/p, in bits for one symbol."""
    counts = np.array([8, 4, 2, 2])  # p = 1/2, 1/4, 1/8, 1/8: 1/2 · 1 + 1/4 · 2 + 2/8 · 3
    came = ex(counts)
    if np.size(came) == 1:
        value = float(np.squeeze(np.asarray(came, dtype=float)))
        facts = {"yours": f"{value:.4g}", "due": 1.75}
        recognise(value, ENTROPY_MISTAKES, facts)
        recognise(abs(value), UNDIVIDED, facts)
    same(came, 1.75, "the entropy of counts 8, 4, 2, 2")
    same(ex(np.array([3, 3, 3, 3, 3, 3, 3, 3])), 3.0, "the entropy of 8 symbols that are equally frequent")


@task("16.2", hints=["Only probabilities matter. Did you divide by counts.sum(), and not by len(counts)?"])
def test_entropy_does_not_depend_on_the_number(ex):
    """Ten times as many of each symbol: the same bits for one symbol."""
    counts = np.array([10, 4, 3, 2, 1])
    due = sum(n / 20 * np.log2(20 / n) for n in counts.tolist())
    same(ex(counts), due, "the entropy of counts 10, 4, 3, 2, 1")
    same(ex(10 * counts), due, "the entropy of counts 100, 40, 30, 20, 10")


@task("16.2", hints=[
    "A symbol that never occurs costs nothing. But log₂ 0 is −∞, and 0 · ∞ is NaN.",
    "Leave them out first: p = p[p > 0].",
])  # fmt: skip
def test_entropy_with_symbols_that_never_occur(ex):
    """A count of 0 changes nothing."""
    with np.errstate(all="ignore"):
        came = ex(np.array([0, 8, 4, 0, 2, 2]))
    if np.size(came) == 1 and np.isnan(float(np.squeeze(came))):
        raise Wrong("It is NaN: 0 · log₂ 0. A symbol that never occurs has to be left out.")
    if np.size(came) == 1 and np.isclose(float(np.squeeze(came)), ex.reference(np.array([1, 8, 4, 1, 2, 2]))):
        raise Wrong("A symbol that never occurs was counted once. Its p is 0: it has to be left out.")
    same(came, 1.75, "the entropy of counts 0, 8, 4, 0, 2, 2")
    with np.errstate(all="ignore"):
        same(ex(np.array([0, 5, 0])), 0.0, "the entropy of a single symbol, counts 0, 5, 0,")


# --- 16.3 explain this failure -------------------------------------------------------------------------

exercise(
    "16.3",
    material.witness,
    proves="Two messages, one string of bits: no reader can tell them apart. No prefix-free code has such.",
)


@task("16.3", points=2, hints=[
    "The friend's codes are a 0, b 1, c 00, d 01, e 10. The code of c begins like that of a.",
    "Which letters, written one after the other, give the bits of c?",
    'c is written 00. And a a is written 0, then 0. Return both as strings: "c" and the other message.',
])  # fmt: skip
def test_witness_has_two_readings(ex):
    """Two different messages of the letters a to e, which the friend's code writes with the same bits."""
    answer = ex()
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong("Two messages are due: return first, second", {"yours": repr(answer)})
    if not all(isinstance(message, (str, list, tuple)) for message in answer):
        raise Wrong('A message is a text of the letters a to e, such as "abba".', {"yours": repr(answer)})
    first, second = ("".join(map(str, message)).replace(" ", "") for message in answer)
    for message in (first, second):
        unknown = sorted(set(message) - set(FRIEND))
        if not message:
            raise Wrong("A message is empty. No bits are read as no letters: there is nothing to confuse.")
        if unknown:
            says = "A message holds letters; what is written with 0 and 1 is its code."
            raise Wrong(says if set(unknown) <= {"0", "1"} else "The code knows the letters a to e.", {
                "yours": message})  # fmt: skip
    bits = [material.friend_bits(message) for message in (first, second)]
    facts = {first: bits[0], second: bits[1]}
    if first == second:
        raise Wrong("Both messages are the same. That their bits agree is no wonder.", facts)
    if bits[0] != bits[1] and (bits[0].startswith(bits[1]) or bits[1].startswith(bits[0])):
        raise Wrong("One only begins like the other. All bits must be the same: go on with the shorter.", facts)
    if bits[0] != bits[1]:
        raise Wrong("These two have different bits, so a reader can tell them apart.", facts)


# --- 16.4 Huffman's tree ---------------------------------------------------------------------------------

exercise(
    "16.4",
    huffman.tree_depths,
    hides=[huffman._package_merge],
    proves="Your tree is the best there is: no prefix-free code is shorter. It can write the model's file.",
)


def checked_depths(ex, counts):
    """The student's depths for these counts, after a look at their form."""
    depths = ex(list(counts))
    if any(depth is Ellipsis for depth in np.asarray(depths, dtype=object).reshape(-1)):
        raise NotWritten
    if np.shape(depths) != (len(counts),):
        says = "A list with one depth for each count is due, in the order of the counts."
        raise Wrong(says, {"yours": repr(depths)[:80], "counts": list(counts)})
    return np.array(depths, dtype=float)


def judge_depths(counts, depths, due):
    """Say what is wrong with a code that takes more, or fewer, than `due` bits."""
    total, room = float(np.dot(counts, depths)), float((0.5 ** np.asarray(depths)).sum())
    facts = {"counts": list(counts), "yours": depths.astype(int).tolist()}
    facts |= {"bits": int(total), "the fewest": due}
    if room > 1 + 1e-12:
        raise Wrong(f"There is no room for these codes: Σ 2^−length = {room:.3g}, which is above 1.", facts)
    if np.array_equal(depths, np.ceil(np.log2(sum(counts) / np.array(counts)))) and total > due:
        raise Wrong("Each length is log₂ 1/p, rounded up: that leaves codes unused. Merge instead.", facts)
    if np.allclose(total, due + sum(counts)):
        raise Wrong("Every length is one too long. The root has depth 0, its children have 1.", facts)
    order = np.argsort(counts)
    if (np.diff(depths[order]) > 0).any() and len(set(counts)) == len(counts):
        raise Wrong("A frequent symbol has a longer code than a rare one. Merge the two *rarest*.", facts)
    if not np.isclose(total, due):
        says = "There is a shorter code. Each time, take the two rarest nodes that are left; a merged one "
        raise Wrong(says + "has the *sum* of their counts.", facts)


@task("16.4", hints=[
    "heapq.heappop(heap) takes the smallest pair out of the heap, heapq.heappush(heap, pair) puts one in.",
    "Pop two. Both get the new node as their parent. Push (sum of their counts, new node).",
    "A node's depth is its parent's depth + 1. The root is the last node; go from it down to node 0.",
])  # fmt: skip
def test_depths_of_the_hand_example(ex):
    """The depths for counts 10, 4, 3, 2, 1 are those of the tree above, and so are those of exercise 16.1."""
    for counts in ([10, 4, 3, 2, 1], COUNTS):
        depths = checked_depths(ex, counts)
        judge_depths(counts, depths, material.best_total(counts, 4))
        same(depths, ex.reference(counts), f"the depths for counts {counts}")


@task("16.4", points=2, hints=[
    "The new node goes back into the heap, with the sum of both counts: it will be merged again.",
    "Repeat until one node is left: K leaves need K − 1 mergers.",
    "Pairs (count, number of the node) in the heap: then equal counts are no problem.",
])  # fmt: skip
def test_no_other_code_is_shorter(ex):
    """For any counts the code is the shortest of all; a slow search through all lengths agrees."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(1, 40, size=n).tolist() for n in (2, 3, 4, 5, 6, 7)]
    for counts in (*drawn, [5] * 8, [15, 7, 6, 6, 5]):  # on the last, cutting from the top is not the best
        judge_depths(counts, checked_depths(ex, counts), material.best_total(counts, len(counts) - 1))
    counts = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55]
    judge_depths(counts, checked_depths(ex, counts), cost(counts, [9, 9, 8, 7, 6, 5, 4, 3, 2, 1]))


@task("16.4")
def test_tree_runs_inside_the_codec(ex):
    """Labels written with your tree come back as they were."""
    labels = np.random.default_rng(1).binomial(15, 0.3, size=400)
    with ex.installed():
        data = codec.huffman_encode(labels)
    same(codec.huffman_decode(data), labels, "what is read back")


# --- 16.5 gaps and fillers -------------------------------------------------------------------------------

exercise(
    "16.5",
    sparse.gap_symbols,
    proves="Your gaps say where each survivor stands, however long the way to it. They can write the file.",
)


def checked_symbols(ex, positions, bits):
    """The student's symbols as an array, after a look at their form."""
    came = ex(np.array(positions), bits)
    if not isinstance(came, np.ndarray):
        raise Wrong("The codec needs an array: return np.array(symbols)", {"yours": type(came).__name__})
    if came.dtype.kind == "O" and any(part is Ellipsis for part in came.reshape(-1)):
        raise NotWritten
    if came.ndim != 1 or came.dtype.kind not in "ui":
        raise Wrong("The symbols are a row of integers.", {"yours": f"shape {came.shape}, {came.dtype}"})
    return came


def judge_symbols(came, positions, bits):
    """Compare with a walk over the array; name the classic mistakes."""
    due, filler = material.gaps_by_walking(positions, bits), 2**bits - 1
    gaps = np.diff(positions, prepend=-1) - 1
    facts = {"positions": list(positions), "bits": bits, "yours": came.tolist(), "due": due}
    if came.tolist() == due:
        return
    if came.tolist() == gaps.tolist():
        raise Wrong(f"A symbol of {bits} bits is at most {filler}. A longer gap needs fillers first.", facts)
    if came.tolist() == np.diff(positions, prepend=0).tolist() or came.tolist() == (gaps + 1).tolist():
        raise Wrong("These are distances, not gaps. A gap counts the zeros between two values.", facts)
    if len(came) == len(gaps):
        raise Wrong("There is one symbol for each value, so a long gap is cut. Fillers are missing.", facts)
    if len(came) and came.max() > filler:
        raise Wrong(f"A symbol is above {filler}, the largest of {bits} bits. Write several fillers.", facts)
    stored_zero = [s for gap in gaps for s in [filler] * (gap // (filler + 1)) + [gap % (filler + 1)]]
    if came.tolist() == stored_zero:  # as in the paper
        raise Wrong(f"A filler skips {filler} zeros, not {filler + 1}: no value comes after them.", facts)
    first = next((i for i, (c, d) in enumerate(zip(came.tolist(), due)) if c != d), 0)
    if due[first] == 0 and due[first - 1] == filler:
        raise Wrong(f"A gap of exactly {filler} reads as a filler. Write it {filler}, then 0.", facts)
    if sorted(came.tolist()) == sorted(due):
        raise Wrong("Right symbols in the wrong order: fillers come before the rest of the gap.", facts)
    if (came == filler).sum() < due.count(filler):
        raise Wrong("Fillers are missing: one is due for every full 2^b − 1 zeros of a gap.", facts)
    raise Wrong("These are other symbols. A filler skips 2^b − 1 zeros; the rest is less than that.", facts)


@task("16.5", hints=[
    "zeros_before(positions) gives the gaps: for 1, 4, 15 they are 1, 2, 10.",
    "With 3 bits the filler is 7. The gap 10 becomes 7, 3: seven zeros and no value, then three zeros.",
    "For each gap: while gap >= filler, append the filler and subtract it. Then append what is left.",
])  # fmt: skip
def test_gaps_of_the_example(ex):
    """Values at 1, 4 and 15, with 3 bits: 1, 2, 7, 3."""
    judge_symbols(checked_symbols(ex, [1, 4, 15], 3), [1, 4, 15], 3)


@task("16.5", hints=[
    "A gap of exactly 7 cannot be written 7: that is the filler. It is 7 (seven zeros, no value), then 0.",
    "How many fillers? gap // filler. And the rest? gap % filler.",
])  # fmt: skip
def test_gaps_at_the_border(ex):
    """Gaps of 6, 7 and 8 zeros: the rest after the fillers is always below the filler."""
    positions = [6, 14, 23, 24]  # gaps 6, 7, 8, 0
    judge_symbols(checked_symbols(ex, positions, 3), positions, 3)


@task("16.5", hints=["A gap of 30 with 3 bits needs four fillers, and then 2."])
def test_gaps_of_many_fillers(ex):
    """A gap may need several fillers; with any number of bits a walk over the array agrees."""
    rng = np.random.default_rng(2)
    for bits in (3, 1, 2, 4, 5):
        positions = np.flatnonzero(rng.random(120) < 0.06).tolist()
        judge_symbols(checked_symbols(ex, positions, bits), positions, bits)


@task("16.5")
def test_gaps_run_inside_the_codec(ex):
    """Positions written with your gaps come back as they were."""
    positions = np.flatnonzero(np.random.default_rng(3).random(400) < 0.1)
    for layout in ("gaps", "huffman"):
        with ex.installed():
            data = codec.encode_positions(positions, 400, layout=layout)
        same(codec.decode_positions(data, 400), positions, "what is read back")
