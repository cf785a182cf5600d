"""Sparse layouts: bytes and time against density, where they cross, and a figure.

    python tests/benchmarks/sparse_formats.py --out sparse.png        (seed 0; a minute and a half)

Start with these three: `measured_cross_over`, where two layouts take the same real bytes; `ratios`, the time of
sparse products in that of the dense one, taken in turns in the same run; `main`, which prints and draws both.

Patterns are random, weight by weight, and for BSR in blocks of 16 × 16. OPENBLAS_CORETYPE is unset; say
OPENBLAS_NUM_THREADS=1 for one thread.
"""

import os
import sys

if "OPENBLAS_CORETYPE" in os.environ:  # it may name a slow kernel; the library chooses when it is loaded
    del os.environ["OPENBLAS_CORETYPE"]
    os.execv(sys.executable, [sys.executable, *sys.argv])

import argparse
import math
import time

import numpy as np

from tinyopt import compress, models
from tinyopt.codec.sparse import BSR, COO, CSC, CSR, LAYOUTS, cross_over, expected_bytes
from tinyopt.compress.sparse import sparsify
from tinyopt.report import doctor

SHAPES = [(300, 784), (1024, 1024)]  # LeNet-300-100's first layer, and a larger one
DENSITIES = np.array([0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])
PAIRS = [
    ("dense", "Bitmap"), ("dense", "CSR"), ("dense", "COO"), ("dense", "RelativeIndex"), ("dense", "BSR"),
    ("CSR", "Bitmap"), ("COO", "Bitmap"), ("RelativeIndex", "Bitmap"), ("RelativeIndex", "CSR"), ("COO", "CSR"),
]  # fmt: skip
ROUNDS = 15
BLOCK = (16, 16)


def pattern(shape, density, rng, block=(1, 1)):
    """Float32 weights of which a share is left, in blocks or one by one."""
    grid = [-(-size // b) for size, b in zip(shape, block)]
    keep = np.zeros(math.prod(grid), bool)
    keep[rng.permutation(keep.size)[: max(1, round(density * keep.size))]] = True
    keep = np.kron(keep.reshape(grid), np.ones(block, bool))[: shape[0], : shape[1]]
    return np.where(keep, rng.standard_normal(shape), 0).astype(np.float32)


def real_bytes(layout, x):
    """The bytes of an array as they would be written, header and all; for dense, without one."""
    return x.nbytes if layout == "dense" else len(LAYOUTS[layout].from_dense(x).to_bytes())


def measured_cross_over(first, second, shape, order):
    """The number of values at which two layouts change places, by halving; None if they do not.

    Shapes: order, a permutation of all elements: the first n of it are kept.
    """

    def difference(n):
        x = np.zeros(order.size, np.float32)
        x[order[:n]] = 1
        return real_bytes(first, x.reshape(shape)) - real_bytes(second, x.reshape(shape))

    low, high = 30, order.size  # fewer values than that are no array to compress
    at_low = difference(low) > 0
    if (difference(high) > 0) == at_low:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (difference(middle) > 0) == at_low else (low, middle)
    return high


def ratios(products, dense, rounds=ROUNDS):
    """The median over rounds of each product's time in the dense one's, all measured in turns; and that, in seconds."""
    times = {name: [] for name in ("dense", *products)}
    for _ in range(rounds + 2):
        for name, product in {"dense": dense, **products}.items():
            start = time.perf_counter()
            product()
            times[name].append(time.perf_counter() - start)
    seconds = np.median(times["dense"][2:])
    return {n: float(np.median(np.array(times[n][2:]) / times["dense"][2:])) for n in products}, seconds


def time_against_density(shape, batch, rng):
    """{layout: [ratio for each density]}, and the dense product's seconds."""
    found, dense_seconds = {}, []
    x = rng.standard_normal((batch, shape[1])).astype(np.float32)
    for density in DENSITIES:
        for block, kinds in (((1, 1), (CSR, CSC, COO)), (BLOCK, (BSR,))):
            weight = pattern(shape, density, rng, block)
            forms = {k.__name__: k.from_dense(weight, BLOCK) if k is BSR else k.from_dense(weight) for k in kinds}
            for form in forms.values():  # no faster because it is wrong
                assert np.allclose((form @ x.T).T, x @ weight.T, rtol=1e-3, atol=1e-3)
            calls = {name: lambda form=form: (form @ x.T).T for name, form in forms.items()}
            parts, seconds = ratios(calls, lambda weight=weight: x @ weight.T)
            dense_seconds.append(seconds)
            for name, ratio in parts.items():
                found.setdefault(name, []).append(ratio)
    return found, float(np.median(dense_seconds))


def break_even(ratio):
    """The density below which sparse is faster, between two measured ones; None if it never is."""
    wins = np.log(np.array(ratio)) < 0
    if not wins[0]:
        return None
    last = int(np.argmin(wins)) - 1 if not wins.all() else len(wins) - 1
    if last == len(wins) - 1:
        return 1.0
    x, y = np.log(DENSITIES[last : last + 2]), np.log(ratio[last : last + 2])
    return float(np.exp(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0])))


def draw_bytes(axes, shape, rng):
    """Lines in closed form, points as measured."""
    for number, layout in enumerate(["dense", *LAYOUTS]):
        line = [expected_bytes(layout, shape, d, block=(4, 4)) for d in DENSITIES]
        real = [real_bytes(layout, pattern(shape, d, rng)) for d in DENSITIES]
        name = f"{layout}, blocks of 4 × 4" if layout == "BSR" else layout
        axes.loglog(DENSITIES, np.array(line) / 1e3, color=f"C{number}", lw=1, label=name)
        axes.loglog(DENSITIES, np.array(real) / 1e3, ".", color=f"C{number}")
    axes.set(xlabel="density (fraction kept)", ylabel="kB", title=f"bytes of {shape[0]} × {shape[1]} float32")
    axes.legend(fontsize=7)


def draw_times(axes, shape, batch, found, seconds):
    for name, values in found.items():
        axes.loglog(DENSITIES, values, ".-", label=f"{name}, pruned in 16 × 16" if name == "BSR" else name)
    axes.axhline(1, color="k", lw=0.8)
    axes.set(xlabel="density (fraction kept)", ylabel="time / time of dense")
    axes.set_title(f"{shape[0]} × {shape[1]}, batch {batch} (dense {1e6 * seconds:.0f} µs)", fontsize=10)
    axes.legend(fontsize=7)


def print_cross_overs(rng):
    shape = SHAPES[0]
    order = rng.permutation(math.prod(shape))
    print(f"\nsame bytes at density (fraction kept), {shape[0]} × {shape[1]} float32, BSR of 4 × 4:")
    for first, second in PAIRS:
        n, due = measured_cross_over(first, second, shape, order), cross_over(first, second, shape)
        got = "none" if n is None else f"{n / order.size:.4f} ({n:,} values)"
        print(f"  {first:14}{second:14} computed {'none' if due is None else f'{due:.4f}':8} measured {got}")


def print_model():
    """What sparsify finds for a network, pruned and not trained: only its pattern matters here."""
    for batch in (1, 64):
        model = models.lenet_300_100(rng=0)
        compress.prune(model, 0.92)
        print(f"\nsparsify(lenet_300_100 with 8 % left, batch_size={batch}):")
        for name, row in sparsify(model, batch).items():
            print(f"  {name}: density {row['density']:.3f}, dense {1e6 * row['dense']:.0f} µs, "
                  f"csr {1e6 * row['csr']:.0f} µs -> {row['layout']}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="where to write the figure (.png, .svg)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rng = np.random.default_rng(arguments.seed)
    print(doctor.summary()["text"])
    print_cross_overs(rng)
    figure, panels = pyplot.subplots(2, 3, figsize=(14, 8), layout="constrained")
    for row, shape in zip(panels, SHAPES):
        draw_bytes(row[0], shape, rng)
        for axes, batch in zip(row[1:], (1, 64)):
            found, seconds = time_against_density(shape, batch, rng)
            draw_times(axes, shape, batch, found, seconds)
            print(f"\ntime in that of dense, {shape[0]} × {shape[1]}, batch {batch}, dense {1e6 * seconds:.0f} µs")
            print("  density " + "".join(f"{d:8.3f}" for d in DENSITIES) + "   faster below")
            for name, values in found.items():
                even = break_even(values)
                percent = "never" if even is None else f"{even:.3f}"
                print(f"  {name:8}" + "".join(f"{v:8.2f}" for v in values) + f"   {percent}")
    print_model()
    figure.savefig(arguments.out, dpi=120)


if __name__ == "__main__":
    main()
