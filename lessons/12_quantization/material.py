"""What the tests of lesson 12 and its notebook share: the references of 12.1 and 12.5, and a few helpers."""

import itertools

import numpy as np

from tinyopt import codec
from tinyopt.codec.floats import fields, named
from tinyopt.compress import wrong_ways
from tinyopt.course import Wrong, recognise, same

SCALE = 0.1  # of exercise 12.5


def predict():
    """What the package finds for the numbers −1.5, 2.3 and 4.5 in 4 bits."""
    q, scale, zero_point = codec.quantize(np.array([-1.5, 2.3, 4.5]), bits=4, symmetric=False)
    back = codec.dequantize(q, scale, zero_point)
    return float(scale), int(zero_point), int(q[1]), float(back[1])


def parts(answer, count, form):
    """The answer as a list of `count` things, or a sentence that says what is due."""
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != count:
        raise Wrong(f"{count} things are due: {form}", {"yours": repr(answer)})
    return list(answer)


def expect(came, due, what, mistakes, **settings):
    """`same`, but first the sentence of the mistake, {sentence: what it makes}, that gives just what came."""
    recognise(came, mistakes, {"yours": came}, due=due, rtol=1e-5)
    same(came, due, what, rtol=1e-5, **settings)


def both(numbers):
    """Each number after the wrong way (cast, then clamp) and after the right way, at scale 0.1."""
    x = np.array(numbers, dtype=float)
    right = codec.dequantize(codec.to_integers(x, np.array(SCALE), np.int32(0)), np.array(SCALE), np.int32(0))
    return wrong_ways.cast_before_clamp(x, SCALE), right


def witness():
    """Three numbers beyond 12.7: one comes back negative, one as 0, and one as it should."""
    turned = 15.0  # 150 steps; 150 − 256 = −106
    lost = 25.6  # 256 steps; 256 − 256 = 0
    hidden = 38.3  # 383 steps; 383 − 256 = 127, which is also what the clamp gives
    return turned, lost, hidden


# --- 12.6 and 12.7 ---


def variant(codes, format, *, power=None, bias=0, one=1, subnormal=1, extra=1, digits=None, signed=True):
    """Decode by the formula, or with one thing of it changed: what a mistake would make."""
    f, (sign, exponent, mantissa) = named(format), fields(codes, format)
    part = mantissa / (digits or 2**f.mantissa_bits)
    stored = np.where(exponent > 0, exponent, subnormal) if power is None else power
    size = 2.0 ** (stored - f.bias + bias)
    size = size * (part + np.where(exponent > 0, one, 1 - extra))
    return np.where((sign == 1) & signed, -size, size)


def total(table, options):
    """The sum over layers of what their options have in a table (L, K)."""
    return float(np.sum([row[i] for row, i in zip(table, options)]))


def all_ways(costs, sizes):
    """Every choice: [(cost, size, options)]."""
    ways = itertools.product(range(costs.shape[1]), repeat=len(costs))
    return [(total(costs, way), total(sizes, way), way) for way in ways]


def greedy(costs, sizes, budget):
    """From the largest options on, take the step that costs least for each byte, until the budget is kept."""
    at = sizes.argmax(axis=1)
    while total(sizes, at) > budget:
        steps = [
            ((costs[i, k] - costs[i, at[i]]) / (sizes[i, at[i]] - sizes[i, k]), i, k)
            for i in range(len(costs)) for k in range(costs.shape[1]) if sizes[i, k] < sizes[i, at[i]]
        ]  # fmt: skip
        _, i, k = min(steps)
        at[i] = k
    return at


def equal_shares(costs, sizes, budget):
    """Each layer on its own, with an equal share of the budget."""
    return np.where(sizes <= budget / len(costs), costs, np.inf).argmin(axis=1)


def same_for_all(costs, sizes, budget):
    """The cheapest option that all layers can have."""
    ways = [(costs[:, k].sum(), k) for k in range(costs.shape[1]) if sizes[:, k].sum() <= budget]
    return np.full(len(costs), min(ways)[1] if ways else -1)


def pruned(costs, sizes, budget, drops):
    """Layer by layer, without each way that drops(way, other) says: what is then the cheapest, or −1."""
    ways = [(0.0, 0.0, ())]
    for pairs in zip(costs, sizes):
        options = list(enumerate(zip(*pairs)))
        ways = [(cost + c, size + s, at + (k,)) for cost, size, at in ways for k, (c, s) in options]
        ways = [way for way in ways if not any(drops(way, other) for other in ways if other is not way)]
    within = [way for way in ways if way[1] <= budget]
    return min(within)[2] if within else -1


def misled(costs, sizes, budget, ways):
    """What mistakes choose: {sentence: options}, for those of them that find a choice at all."""
    within, below = [way for way in ways if way[1] <= budget], [way for way in ways if way[1] < budget]
    return {
        "A choice that takes just the budget is left out. It is allowed: <=, not <.":
            min(below)[2] if below else -1,
        "That is what a greedy walk finds, one step after the other. There is a cheaper choice.":
            greedy(costs, sizes, budget),
        "All layers have the same option. They may differ.": same_for_all(costs, sizes, budget),
        "Each layer has an equal share of the budget. Only the sum must keep it.":
            equal_shares(costs, sizes, budget),
        "That is the smallest choice. Larger ones keep the budget, too, and cost less.": sizes.argmin(axis=1),
        "That is the choice with the *largest* sum of costs.": max(within)[2],
        "That fills the budget best. The sum of costs counts, not how much is left over.":
            max((size, options) for _, size, options in within)[1],
        "Two ways with equal sums dropped each other, and both are lost. One of them must stay.":
            pruned(costs, sizes, budget, lambda a, b: b[0] <= a[0] and b[1] <= a[1]),
        "Of ways with the same sum of sizes, only the last was kept. Keep the one that costs least.":
            pruned(costs, sizes, budget, lambda a, b: b[1] == a[1] and b[2] > a[2]),
    }  # fmt: skip
