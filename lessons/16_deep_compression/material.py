"""What the tests of lesson 16 and its notebook share: references of 16.1 and 16.3, slow oracles, drawings."""

import itertools

import numpy as np

from tinyopt.codec import code_lengths

COUNTS = [7, 5, 4, 3, 1]  # exercise 16.1: how often a, b, c, d, e occur
FRIEND = {"a": "0", "b": "1", "c": "00", "d": "01", "e": "10"}  # exercise 16.3: short, and of no use


def predict():
    """What the package finds for the five symbols of exercise 16.1: their code lengths, and all bits."""
    lengths = code_lengths(COUNTS).tolist()
    return lengths, sum(count * length for count, length in zip(COUNTS, lengths))


def witness():
    """Two different messages that the friend's code writes with the same bits: the first found."""
    seen = {}
    for size in itertools.count(1):
        for letters in itertools.product(FRIEND, repeat=size):
            other = seen.setdefault(friend_bits(letters), letters)
            if other != letters:
                return "".join(other), "".join(letters)


def friend_bits(message):
    """A message in the friend's code."""
    return "".join(FRIEND[letter] for letter in message)


def kraft(lengths):
    """Σ 2^−length: how much of all codes these lengths use up. A prefix code has at most 1."""
    return float(sum(0.5 ** int(length) for length in lengths))


def best_total(counts, longest):
    """The fewest bits for symbols of these counts: try all lengths up to `longest` that leave room."""
    heaviest_first = sorted(counts, reverse=True)
    shortest_first = itertools.combinations_with_replacement(range(1, longest + 1), len(counts))
    return min(int(np.dot(heaviest_first, lengths)) for lengths in shortest_first if kraft(lengths) <= 1)


def gaps_by_walking(positions, bits):
    """The slow oracle of `gap_symbols`: walk over the array, count zeros, write a filler when it is full."""
    is_value, symbols, zeros = set(positions), [], 0
    for i in range(max(positions, default=-1) + 1):
        if i in is_value:
            symbols.append(zeros)
            zeros = 0
            continue
        zeros += 1
        if zeros == 2**bits - 1:
            symbols.append(zeros)
            zeros = 0
    return symbols


def draw_tree(ax, codes, counts):
    """Draw the tree of a prefix code: codes {symbol: "010"}, counts {symbol: how often}."""
    leaves = sorted(codes, key=codes.get)
    place = {codes[symbol]: float(x) for x, symbol in enumerate(leaves)}
    weight = {codes[symbol]: counts[symbol] for symbol in leaves}
    name = {codes[symbol]: symbol for symbol in leaves}
    inner = {code[:n] for code in codes.values() for n in range(len(code))}
    for node in sorted(inner, key=len, reverse=True):
        left, right = node + "0", node + "1"
        place[node], weight[node] = (place[left] + place[right]) / 2, weight[left] + weight[right]
        for child, bit in ((left, "0"), (right, "1")):
            ax.plot([place[node], place[child]], [-len(node), -len(child)], color="0.6", zorder=0)
            middle = 0.45 * place[node] + 0.55 * place[child]
            ax.text(middle, -len(node) - 0.55, bit, ha="center", va="center", color="C3",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    for node, x in place.items():
        leaf = node in name
        text = f"{name[node]}: {weight[node]}" if leaf else str(weight[node])
        look = {"boxstyle": "round", "facecolor": "#cfe3f5" if leaf else "white", "edgecolor": "0.5"}
        ax.text(x, -len(node), text, ha="center", va="center", fontsize=11, bbox=look)
        if leaf:
            ax.text(x, -len(node) - 0.38, node, ha="center", va="center", color="C3", family="monospace")
    ax.set(xlim=(-0.6, len(leaves) - 0.4), ylim=(-max(map(len, codes.values())) - 0.65, 0.35))
    ax.axis("off")


def draw_gaps(ax):
    """Draw a row of 16 numbers, 3 of them no zeros, and its gaps of 3 bits below."""
    row = {1: 7, 4: 5, 15: 3}
    for i in range(16):
        colour = "#cfe3f5" if i in row else "white"
        ax.broken_barh([(i, 1)], (0, 1), facecolor=colour, edgecolor="0.5")
        ax.text(i + 0.5, 0.5, row.get(i, 0), ha="center", va="center", color="k" if i in row else "0.6")
        ax.text(i + 0.5, 1.2, i, ha="center", va="center", fontsize=8, color="0.5")
    spans = ((0, 2, "1", "C1"), (2, 5, "2", "C1"), (5, 12, "7: filler", "C3"), (12, 16, "3", "C1"))
    for begin, end, text, colour in spans:
        ax.plot([begin + 0.1, end - 0.1], [-0.25, -0.25], color=colour, lw=3)
        ax.text((begin + end) / 2, -0.7, text, ha="center", va="center", color=colour, fontsize=12)
    ax.set(xlim=(-0.1, 16.1), ylim=(-1.1, 1.5), title="positions 1, 4, 15 are written 1, 2, 7, 3: 12 bits")
    ax.axis("off")


def draw_stacks(ax, files, colours):
    """Draw files as bars of their groups of bytes: files {name: {group: bytes}}, colours {group: colour}."""
    bottom = np.zeros(len(files))
    for group, colour in colours.items():
        heights = np.array([sums[group] / 1000 for sums in files.values()])
        ax.bar(range(len(files)), heights, bottom=bottom, color=colour, label=group)
        bottom += heights
    for x, height in enumerate(bottom):
        ax.annotate(f"{height:,.1f} kB", (x, height), (0, 3), textcoords="offset points", ha="center")
    steps = {"shared": "pruned,\nshared", "coded": "pruned,\nshared,\ncoded"}
    labels = [steps.get(name, name) for name in files]
    ax.set(xticks=range(len(files)), xticklabels=labels, ylabel="file on disk, kB")
