"""Each wrong way to quantize beside the right way: python tests/benchmarks/quantization_wrong_ways.py [--out FILE.png]

One panel for each function of `compress.wrong_ways`, and a table of the errors, on numbers drawn with seed 0. Red is
the wrong way, blue the right one: `codec.quantize` and then `dequantize`, on the line that the panel names.
"""

import argparse

import numpy as np

from tinyopt.codec import dequantize, quantize
from tinyopt.codec.affine import scale_from_range, to_integers
from tinyopt.compress import wrong_ways
from tinyopt.measure.table import text_table
from tinyopt.nn.integer_math import fixed_point, requantize

SEED, RED, BLUE = 0, "#c0392b", "#2563a8"


def right(x, bits=8, symmetric=True):
    """There and back on the whole range."""
    return dequantize(*quantize(x, bits=bits, symmetric=symmetric))


def clipped_right(x, low, high, bits=8, symmetric=True):
    """There and back on the line for a range."""
    scale, zero_point = scale_from_range(np.float64(low), np.float64(high), bits=bits, symmetric=symmetric)
    integers = to_integers(x, scale, zero_point, bits=bits, symmetric=symmetric)
    return dequantize(integers, scale, zero_point)


def in_fixed_point(accumulators, factor):
    """To int8 by integers alone, as one channel of an integer layer."""
    return requantize(accumulators[:, np.newaxis], *fixed_point(np.array([factor])), 0)[:, 0]


def cases(rng):
    """{title: (what goes in, the wrong way's answer, the right way's, what that is)}."""
    even = np.linspace(-1, 1, 801)
    weights = np.sort(rng.normal(0, 0.15, 801))
    far = np.linspace(-2, 2, 801)
    tight = np.append(0.0, np.linspace(5, 10, 800))
    outlier = np.append(even, 20.0)
    three = np.linspace(-1, 1, 801) + 0.2
    return {
        "round_to_whole": (weights, wrong_ways.round_to_whole(weights), right(weights, 4), "4 bits, symmetric"),
        "uncentred: (max − min) / 2^bits": (
            three, wrong_ways.uncentred(three, bits=3), right(three, 3, symmetric=False), "3 bits, affine",
        ),
        "one_value_too_many: (max − min) / 2^bits": (
            three, wrong_ways.one_value_too_many(three, bits=3), right(three, 3, symmetric=False), "3 bits, affine",
        ),
        "cast_before_clamp, range ±1": (
            far, wrong_ways.cast_before_clamp(far, 1 / 127), clipped_right(far, -1, 1), "8 bits, clamped first",
        ),
        "clipped_zero_point, range [5, 10]": (
            tight, wrong_ways.clipped_zero_point(tight, 5.0, 10.0), right(tight, 8, False), "8 bits, widened to 0",
        ),
        "range_without_zero, range [5, 10]": (
            tight, wrong_ways.range_without_zero(tight, 5.0, 10.0), right(tight, 8, False), "8 bits, widened to 0",
        ),
        "scaled_by_outlier: one number is 20": (
            outlier, wrong_ways.scaled_by_outlier(outlier, bits=4), clipped_right(outlier, -1, 1, 4),
            "4 bits, range ±1",
        ),
    }  # fmt: skip


def there_and_back(axes, title, x, wrong, good, line):
    """What goes in against what comes back, with the mean size of the error of each."""
    inside = abs(x) < 12
    sizes = [abs(back - x)[inside].mean() for back in (good, wrong)]
    axes.plot(x[inside], good[inside], ".", color=BLUE, ms=3, alpha=0.5, label=f"right: {line}")
    axes.plot(x[inside], wrong[inside], ".", color=RED, ms=2, label="wrong")
    if x[0] == 0:  # a zero far from all others
        axes.plot(0, good[0], "o", color=BLUE, ms=6)
        axes.plot(0, wrong[0], "x", color=RED, ms=7, mew=2)
    axes.set_title(f"{title}\nmean error: wrong {sizes[1]:.3g}, right {sizes[0]:.3g}", fontsize=9)
    axes.set(xlabel="x", ylabel="what comes back")
    axes.legend(fontsize=7, loc="upper left", markerscale=3, frameon=False)
    axes.set_ylim(min(wrong[inside].min(), x[inside].min()) - 0.05 * np.ptp(x[inside]),
                  max(wrong[inside].max(), x[inside].max()) + 0.45 * np.ptp(x[inside]))  # fmt: skip


def biases(rng):
    """Errors of 12 biases of a layer, in steps of its accumulator: own 8 bits, 8 of the accumulator's, and int32."""
    bias, product_scale = rng.normal(0, 0.3, 12), (1 / 255) * (0.2 / 127)  # images in [0, 1], weights in ±0.2
    backs = {
        "8 bits, own line": wrong_ways.bias_in_8_bits(bias),
        "8 bits, the accumulator's line": wrong_ways.bias_in_8_bits(bias, product_scale),
        "right: int32, the accumulator's line": np.rint(bias / product_scale) * product_scale,
    }
    return bias, product_scale, {name: abs(back - bias) / product_scale for name, back in backs.items()}


def draw_biases(axes, errors):
    for (name, error), color, mark in zip(errors.items(), ("#e08e79", RED, BLUE), "vso"):
        axes.semilogy(np.arange(len(error)), error, mark, color=color, ms=5, label=f"{name}: mean {error.mean():.2g}")
    axes.axhline(0.5, color="0.7", lw=0.8)
    axes.set(xlabel="output of the layer", ylabel="steps of the accumulator", ylim=(1e-3, 1e9))
    axes.set_title("bias_in_8_bits\nerror of a bias, in each sum; the largest fits its own line", fontsize=9)
    axes.legend(fontsize=7, loc="upper left", frameon=False)


def draw_requantization(axes):
    acc = np.arange(-10, 11).astype(np.int32)
    fixed = in_fixed_point(acc, 0.25)
    floats = wrong_ways.float_requantization(acc, 0.25)
    differ = fixed != floats
    axes.plot(acc, acc / 4, color="0.8", lw=1, label="accumulator / 4")
    axes.plot(acc, fixed, "o", color=BLUE, ms=6, label="right: fixed point, half away from zero")
    axes.plot(acc, floats, "x", color=RED, ms=6, label="floats: half to even")
    axes.set(xlabel="accumulator", ylabel="q", ylim=(-3.5, 5.6))
    axes.set_title(f"float_requantization, factor 1/4\n{differ.sum()} of {len(acc)} integers differ by 1", fontsize=9)
    axes.legend(fontsize=7, loc="upper left", frameon=False)


def disagreements(rng, n=1_000_000):
    """Of n accumulators for each kind of factor: how many are otherwise in floats, in parts per million."""
    rows = []
    kinds = {
        "1/4": [0.25], "1/64": [1 / 64], "1,000 drawn, 1/30 … 1/3,000": 10 ** -rng.uniform(1.5, 3.5, 1000),
        "1,000 drawn, 10⁻⁵ … 10⁻⁷": 10 ** -rng.uniform(5, 7, 1000),
    }  # fmt: skip
    for name, factors in kinds.items():
        counts = np.zeros(3)
        for factor in factors:
            acc = rng.integers(-int(127 / factor), int(127 / factor), n // len(factors)).astype(np.int32)
            answers = [
                in_fixed_point(acc, factor),
                wrong_ways.float_requantization(acc, factor),
                wrong_ways.float_requantization(acc, factor, dtype=np.float64),
            ]
            counts += [(answers[i] != answers[j]).sum() for i, j in ((1, 0), (2, 0), (1, 2))]
        rows.append([name, *(f"{1e6 * count / n:,.0f}" for count in counts)])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="where the figure is written, a .png file")
    out = parser.parse_args().out
    rng = np.random.default_rng(SEED)
    shown = cases(rng)
    rows = []
    for title, (x, wrong, good, line) in shown.items():
        sizes = [abs(back - x) for back in (wrong, good)]
        biased = [(back - x).mean() for back in (wrong, good)]
        rows.append([title, line, *(f"{e.max():.4f}" for e in sizes), *(f"{e.mean():.4f}" for e in sizes),
                     *(f"{mean:+.4f}" for mean in biased)])  # fmt: skip
    header = ["wrong way", "right way", "largest error", "right", "mean size", "right", "mean", "right"]
    print(text_table(header, rows, left=2), "\n")
    bias, step, errors = biases(rng)
    print(f"a bias of {abs(bias).mean():.2f} on the mean, accumulator's step {step:.2e}; mean error in such steps:")
    print("\n".join(f"  {name:38} {error.mean():14,.2f}" for name, error in errors.items()), "\n")
    header = ["of 1,000,000 integers, factor", "float32 ≠ fixed point", "float64 ≠ fixed point", "float32 ≠ float64"]
    print(text_table(header, disagreements(rng)))
    if out:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 10), layout="constrained")
        panels = figure.subplots(3, 3).flat
        for (title, case), axes in zip(shown.items(), panels):
            there_and_back(axes, title, *case)
        draw_biases(next(panels), errors)
        draw_requantization(next(panels))
        figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
