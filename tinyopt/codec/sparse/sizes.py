"""Bytes against density in closed form, and where one layout becomes smaller than another.

Start with these three: `straight_line`, for the layouts whose bytes grow evenly with the number of values;
`expected_bytes`, for all of them; `cross_over`, where two of them meet.
"""

import math

import numpy as np

from .matrix import index_type, matrix_shape

MOST_BITS = 16


def straight_line(layout, shape, dtype="f4"):
    """Bytes = fixed + n · each, for n values, s bytes each, of an m × k matrix. Exact, not an estimate.

        layout    fixed              each
        dense     m · k · s          0
        Bitmap    ⌈m · k / 8⌉        s
        COO       0                  s + bytes of a row's index + bytes of a column's
        CSR       (m + 1) · p        s + bytes of a column's index        p, bytes of an index up to m · k
        CSC       (k + 1) · p        s + bytes of a row's index

    Units:  returns (fixed, each), in bytes.
    Raises: KeyError for the layouts whose bytes depend on where the values lie.
    """
    (m, k), s = matrix_shape(shape), np.dtype(dtype).itemsize
    row, column, start = (index_type(n).itemsize for n in (m, k, m * k + 1))
    lines = {
        "dense": (m * k * s, 0),
        "Bitmap": (-(-m * k // 8), s),
        "COO": (0, s + row + column),
        "CSR": ((m + 1) * start, s + column),
        "CSC": ((k + 1) * start, s + row),
    }
    return lines[layout]


def expected_bytes(layout, shape, density, dtype="f4", *, block=(4, 4), bits=None):
    """The bytes of a layout if each element is kept with probability `density`, whatever its neighbours.

        BSR             ⌈m/r⌉ ⌈k/c⌉ · (1 − (1 − d)^(r c)) · (r c s + index) + starts
        RelativeIndex   d m k · (1 + F) · (s + b / 8)        F = q / (1 − q),  q = (1 − d)^(2^b)

    A block is stored unless all its r · c elements are 0. F is the fillers for each value: a gap of 2^b zeros or
    more has probability q, one of twice that q², and so on. The other layouts: `straight_line`.

    Units:  density, fraction *kept*, in [0, 1]; bits=None takes the best of 1..16. Bytes, a float. For BSR, edges
            that blocks do not divide are counted as if they were whole.
    """
    (m, k), s = matrix_shape(shape), np.dtype(dtype).itemsize
    if layout == "BSR":
        r, c = block
        high, wide = -(-m // r), -(-k // c)
        each = r * c * s + index_type(wide).itemsize
        fixed = (high + 1) * index_type(high * wide + 1).itemsize
        return fixed + high * wide * (1 - (1 - density) ** (r * c)) * each
    if layout == "RelativeIndex":
        if density == 0:
            return 0.0  # nothing is written after the last value
        choices = range(1, MOST_BITS + 1) if bits is None else [bits]
        n_values = [density * m * k / (1 - (1 - density) ** 2**b) for b in choices]  # 1 + F = 1 / (1 − q)
        return min(n * (s + b / 8) for n, b in zip(n_values, choices))
    fixed, each = straight_line(layout, shape, dtype)
    return fixed + density * m * k * each


def meeting_density(one, other, size):
    """The density at which two straight lines of bytes meet; None if they do not, between 0 and 1.

        fixed₁ + each₁ · n = fixed₂ + each₂ · n        d = n / size

    Shapes: one, other, pairs (fixed, each) as `straight_line` gives them; size, all elements of the array.
    Units:  bytes; the density is the fraction *kept*.
    """
    (fixed1, each1), (fixed2, each2) = one, other
    if each1 == each2:
        return None  # parallel
    density = (fixed2 - fixed1) / (each1 - each2) / size
    return density if 0 < density < 1 else None


def cross_over(first, second, shape, dtype="f4", **settings):
    """The density at which two layouts take the same bytes; None if one is smaller at all densities.

        straight lines    `meeting_density`
        otherwise         by halving an interval in which the difference changes its sign once

    Units:  density, fraction *kept*; settings as `expected_bytes` has them.
    """

    def difference(density):
        one, other = (expected_bytes(layout, shape, density, dtype, **settings) for layout in (first, second))
        return one - other

    if {first, second}.isdisjoint({"BSR", "RelativeIndex"}):
        return meeting_density(*(straight_line(layout, shape, dtype) for layout in (first, second)), math.prod(shape))
    grid = np.concatenate([np.geomspace(1e-6, 0.1, 200), np.linspace(0.1, 1, 200)[1:]])
    signs = np.sign([difference(density) for density in grid])
    change = np.flatnonzero(signs[1:] != signs[:-1])
    if not change.size:
        return None
    low, high = grid[change[0]], grid[change[0] + 1]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.sign(difference(middle)) == signs[change[0]] else (low, middle)
    return float(middle)
