"""Wrong answers that students give, and words that the verdict on each must contain."""

import heapq

import numpy as np

from tinyopt import codec
from tinyopt.course import wrong

# --- 16.1 ---


@wrong("16.1", says="Three bits each")
def fixed_length():
    return [3, 3, 3, 3, 3], 60


@wrong("16.1", says="a single chain")
def one_chain():
    return [1, 2, 3, 4, 4], 45


@wrong("16.1", says="no room for these codes")
def too_short():
    return [1, 2, 2, 2, 3], 34


@wrong("16.1", says="in the wrong places")
def upside_down():
    return [3, 3, 2, 2, 2], 52


@wrong("16.1", says="sum of the five lengths")
def sum_of_lengths():
    return [2, 2, 2, 3, 3], 12


@wrong("16.1", says="a shorter code")
def one_more():
    return [2, 2, 2, 3, 4], 45


@wrong("16.1", says="out of reach")
def asked_the_package():
    lengths = codec.code_lengths([7, 5, 4, 3, 1])
    return lengths.tolist(), int(lengths @ np.array([7, 5, 4, 3, 1]))


@wrong("16.1", says="the last merger counts, too", blind=True)
def without_the_last_merger():
    return [1, 1, 1, 2, 2], 24


@wrong("16.1", says="only mergers count")
def root_counted_by_hand():
    return [3, 3, 3, 4, 4], 64


# --- 16.2 ---


@wrong("16.2", says="The logarithm is the natural one")
def natural_logarithm(counts):
    p = counts[counts > 0] / counts.sum()
    return -(p * np.log(p)).sum()


@wrong("16.2", says="sign is turned")
def without_minus(counts):
    p = counts[counts > 0] / counts.sum()
    return (p * np.log2(p)).sum()


@wrong("16.2", says="bits of all 16 symbols together")
def all_symbols(counts):
    p = counts[counts > 0] / counts.sum()
    return -(counts[counts > 0] * np.log2(p)).sum()


@wrong("16.2", says="plain mean")
def plain_mean(counts):
    p = counts[counts > 0] / counts.sum()
    return np.log2(1 / p).mean()


@wrong("16.2", says="each symbol once")
def plain_sum(counts):
    p = counts[counts > 0] / counts.sum()
    return np.log2(1 / p).sum()


@wrong("16.2", says="It is NaN")
def zeros_not_left_out(counts):
    p = counts / counts.sum()
    return -(p * np.log2(p)).sum()


@wrong("16.2", says="Divide them by their sum")
def counts_as_probabilities(counts):
    counts = counts[counts > 0]
    return -(counts * np.log2(counts)).sum()


@wrong("16.2", says="a code of fixed length")
def fixed_bits(counts):
    return np.log2(np.count_nonzero(counts))


@wrong("16.2", says="was counted once", blind=True)
def zeros_counted_once(counts):
    counts = np.maximum(counts, 1)
    p = counts / counts.sum()
    return float((p * np.log2(1 / p)).sum())


# --- 16.3 ---


@wrong("16.3", says="Both messages are the same")
def the_same_twice():
    return "abc", "abc"


@wrong("16.3", says="a reader can tell them apart")
def other_bits():
    return "c", "d"


@wrong("16.3", says="holds letters")
def bits_for_letters():
    return "00", "0"


@wrong("16.3", says="is empty")
def empty():
    return "", ""


@wrong("16.3", says="the letters a to e")
def other_letters():
    return "f", "aa"


@wrong("16.3", says="only begins like the other", blind=True)
def one_begins_the_other():
    return "a", "c"


# --- 16.4 ---


@wrong("16.4", says="log₂ 1/p, rounded up")
def rounded_up(counts):
    return [int(np.ceil(np.log2(sum(counts) / count))) for count in counts]


def merged(counts, take, put):
    """Huffman's loop with two of its steps open."""
    nodes = [(count, [leaf]) for leaf, count in enumerate(counts)]
    depth = [0] * len(counts)
    while len(nodes) > 1:
        (count_a, a), (count_b, b) = take(nodes), take(nodes)
        for leaf in a + b:
            depth[leaf] += 1
        put(nodes, count_a, count_b, a + b)
    return depth


@wrong("16.4", says="Merge the two *rarest*")
def most_frequent_first(counts):
    def take(nodes):
        return nodes.pop(nodes.index(max(nodes)))

    return merged(counts, take, lambda nodes, a, b, leaves: nodes.append((a + b, leaves)))


@wrong("16.4", says="*sum* of their counts")
def larger_instead_of_sum(counts):
    def take(nodes):
        return nodes.pop(nodes.index(min(nodes)))

    return merged(counts, take, lambda nodes, a, b, leaves: nodes.append((max(a, b), leaves)))


@wrong("16.4", says="There is a shorter code")
def sorted_only_once(counts):
    order = sorted(range(len(counts)), key=lambda leaf: -counts[leaf])
    depth = [0] * len(counts)
    for place, leaf in enumerate(order):
        depth[leaf] = min(place + 1, len(counts) - 1)
    return depth


@wrong("16.4", says="one too long")
def root_counted(counts):
    def take(nodes):
        return nodes.pop(nodes.index(min(nodes)))

    depth = merged(counts, take, lambda nodes, a, b, leaves: nodes.append((a + b, leaves)))
    return [n + 1 for n in depth]


@wrong("16.4", says="There is a shorter code")
def split_from_the_top(counts):
    """Shannon's and Fano's way: cut the sorted row into two parts of nearly equal weight, again and again."""
    depth = [0] * len(counts)

    def cut(leaves):
        if len(leaves) < 2:
            return
        sums = np.cumsum([counts[leaf] for leaf in leaves])
        at = 1 + int(abs(2 * sums[:-1] - sums[-1]).argmin())
        for leaf in leaves:
            depth[leaf] += 1
        cut(leaves[:at])
        cut(leaves[at:])

    cut(sorted(range(len(counts)), key=lambda leaf: -counts[leaf]))
    return depth


@wrong("16.4", says="no room for these codes")
def only_the_last_merger(counts):
    heap = [(count, [leaf]) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    depth = [0] * len(counts)
    while len(heap) > 1:
        (count_a, a), (count_b, b) = heapq.heappop(heap), heapq.heappop(heap)
        for leaf in (a[0], b[0]):  # the others below the node are forgotten
            depth[leaf] += 1
        heapq.heappush(heap, (count_a + count_b, a + b))
    return depth


@wrong("16.4", says="The root has depth 0", blind=True)
def loop_over_the_root_too(counts):
    n_leaves = len(counts)
    heap = [(count, leaf) for leaf, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = [0] * (2 * n_leaves - 1)
    for node in range(n_leaves, 2 * n_leaves - 1):
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        parent[first[1]] = parent[second[1]] = node
        heapq.heappush(heap, (first[0] + second[0], node))
    depth = [0] * (2 * n_leaves - 1)
    for node in range(2 * n_leaves - 2, -1, -1):
        depth[node] = depth[parent[node]] + 1
    return depth[:n_leaves]


# --- 16.5 ---


@wrong("16.5", says="needs fillers first")
def plain_gaps(positions, bits):
    return np.diff(positions, prepend=-1) - 1


@wrong("16.5", says="distances, not gaps")
def distances(positions, bits):
    return np.diff(positions, prepend=-1)


@wrong("16.5", says="a long gap is cut")
def clipped(positions, bits):
    return np.minimum(np.diff(positions, prepend=-1) - 1, 2**bits - 1)


def walk(positions, bits, fillers_of, rest_of, filler_last=False):
    """Gap by gap, with the two numbers that matter left open."""
    filler, symbols = 2**bits - 1, []
    for gap in (np.diff(positions, prepend=-1) - 1).tolist():
        fillers = [filler] * fillers_of(gap, filler)
        rest = [rest_of(gap, filler)]
        symbols += rest + fillers if filler_last else fillers + rest
    return np.array(symbols, dtype=int)


@wrong("16.5", says="7, then 0")
def full_gap_without_rest(positions, bits):
    def rest_of(gap, filler):
        return gap and (gap - 1) % filler + 1

    return walk(positions, bits, lambda gap, filler: (gap - rest_of(gap, filler)) // filler, rest_of)


@wrong("16.5", says="fillers come before the rest")
def filler_behind(positions, bits):
    return walk(positions, bits, lambda gap, f: gap // f, lambda gap, f: gap % f, filler_last=True)


@wrong("16.5", says="Write several fillers")
def at_most_one_filler(positions, bits):
    return walk(positions, bits, lambda gap, f: int(gap >= f), lambda gap, f: gap - f * (gap >= f))


@wrong("16.5", says="A filler skips 7 zeros, not 8")
def filler_is_a_value_too(positions, bits):
    """The filler taken for seven zeros and one more place, as in formats whose filler is a stored zero."""
    return walk(positions, bits, lambda gap, f: gap // (f + 1), lambda gap, f: gap % (f + 1))


@wrong("16.5", says="return np.array")
def a_list(positions, bits):
    return walk(positions, bits, lambda gap, f: gap // f, lambda gap, f: gap % f).tolist()


@wrong("16.5", says="no value comes after them", blind=True)
def filler_of_the_paper(positions, bits):
    filler, symbols = 2**bits - 1, []
    for gap in np.diff(positions, prepend=-1) - 1:
        while gap > filler:
            symbols.append(filler)
            gap -= filler + 1
        symbols.append(gap)
    return np.array(symbols)
