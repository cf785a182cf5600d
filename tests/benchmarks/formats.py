"""What each number format can hold, and what it costs: python tests/benchmarks/formats.py [--seed 0] [--out FILE.png]

A table, then a figure. The table: `lenet5`, trained on `data.mnist5k()` for 8 epochs of Adam at 0.001, its weights
stored in each format (a scale for each output channel, or for each group of 50 weights, 25 in conv1); the file's
size, the accuracy on the 1,000 test images after that file was loaded again, and how that differs from float32 on the
same images (± one standard error, by pairs). Beside it the root mean square error of a million drawn numbers of
deviation 1, Gaussian and Laplace, a scale for each 50 of them; for chosen levels, one set of levels for all numbers.
No setting was chosen by these numbers.

The figure: the range of each format; where the levels of those of 8 bits or fewer lie, with the largest at 1; the
step between neighbours, as a share of the number.
"""

import argparse
import copy
import os
import sys
import tempfile

import numpy as np

from tinyopt import compress, data, files, measure, models, train
from tinyopt.codec import floats
from tinyopt.codec.affine import dequantize, in_groups, quantize
from tinyopt.codec.levels import nearest_level, power_of_two_levels
from tinyopt.compress.formats import METHODS, quantize_levels, store_as

EPOCHS, GROUP, N_DRAWN = 8, 50, 1_000_000
GROUPS = {"conv1": 25, "conv2": GROUP, "fc1": GROUP, "fc2": GROUP}
FLOATS = ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2")
BLUE, ORANGE, GREEN, GREY, INK = "#2563a8", "#c2571a", "#3b8a4e", "#8b93a1", "#1f2430"
COLORS = {"fp": BLUE, "bf": BLUE, "in": ORANGE, "nf": GREEN, "po": GREEN}  # by how a name begins


def methods():
    """Yield (name, bits, what it does to a model, what it does to an array)."""
    yield "float32", 32, lambda model: None, lambda x: x
    for name in FLOATS:
        yield name, floats.FORMATS[name].bits, lambda m, f=name: store_as(m, f), lambda x, f=name: as_format(x, f)
    yield "int8", 8, lambda m: compress.quantize(m, 8), lambda x: as_integers(x, 8)
    for name in ("fp4_e2m1", "nf4"):
        yield name, 4, lambda m, f=name: store_as(m, f), None
        yield (f"{name}, groups", 4, lambda m, f=name: store_as(m, f, group_size=GROUPS),
               lambda x, f=name: as_format(x, f))  # fmt: skip
    yield "int4", 4, lambda m: compress.quantize(m, 4), None
    yield "int4, groups", 4, lambda m: compress.quantize(m, 4, group_size=GROUPS), lambda x: as_integers(x, 4)
    for bits in (4, 3, 2):
        for name in METHODS:
            yield (f"{name}, {bits} bits", bits, lambda m, b=bits, n=name: quantize_levels(m, b, method=n),
                   lambda x, b=bits, n=name: as_levels(x, b, n))  # fmt: skip


def as_format(x, name):
    """Drawn numbers in a format, a scale for each group of them; none for 16 bits."""
    group = GROUP if floats.FORMATS[name].bits <= 8 else None
    scale = floats.absmax_scale(x, name, group_size=group) if group else np.float32(1)[...]
    return floats.from_codes(floats.to_codes(x, scale, name), scale, name)


def as_integers(x, bits):
    rows = in_groups(x, GROUP)
    return dequantize(*quantize(rows, bits=bits, axis=0), axis=0).reshape(x.shape)


def as_levels(x, bits, method):
    levels = METHODS[method](x, bits)
    return levels[nearest_level(x, levels)]


def table(seed):
    """Train, store each way, load, and print."""
    digits, net = data.mnist5k(), models.lenet5(rng=seed)
    train.fit(net, digits, epochs=EPOCHS, seed=seed, progress=False)
    rng = np.random.default_rng(seed)
    drawn = [rng.normal(size=N_DRAWN), rng.laplace(scale=0.5**0.5, size=N_DRAWN)]
    drawn, n_weights = [x.astype(np.float32) for x in drawn], sum(p.size for p in net.parameters())
    print(f"lenet5 on mnist5k, {n_weights:,} parameters, seed {seed}\n")
    print(f"{'format':22}{'bits':>5}{'file, bytes':>13}{'bits each':>11}{'accuracy, %':>16}{'minus float32':>17}"
          f"{'error, Gauss':>14}{'Laplace':>9}")  # fmt: skip
    right = None
    for name, bits, change, round_off in methods():
        model = copy.deepcopy(net)
        change(model)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.top")
            n_bytes = files.save(model, path)
            quality = measure.evaluate(files.load(path), digits.test)
        hit = quality.predictions == quality.labels
        right = hit if right is None else right
        difference, error = measure.paired_difference(right, hit)
        errors = ["", ""] if round_off is None else [f"{rms(round_off(x) - x):.2g}" for x in drawn]
        print(f"{name:22}{bits:5}{n_bytes:13,}{8 * n_bytes / n_weights:11.2f}{100 * quality.accuracy:9.1f} ±"
              f"{100 * quality.standard_error:5.2f}{100 * difference:+10.1f} ±{100 * error:5.2f}"
              f"{errors[0]:>14}{errors[1]:>9}", flush=True)  # fmt: skip


def rms(x):
    return float(np.sqrt(np.mean(x.astype(np.float64) ** 2)))


# --- the figure -----------------------------------------------------------------------------------


def held():
    """{name: all its numbers, ascending}: floats as published, integers, powers of two."""
    found = {name: floats.levels(name).astype(np.float64) for name in floats.FORMATS}
    found |= {"int8": np.arange(-127.0, 128), "int4": np.arange(-7.0, 8)}
    found["power of two, 4 bits"] = power_of_two_levels(np.ones(1), 4)
    order = (*FLOATS, "int8", "fp4_e2m1", "int4", "nf4", "power of two, 4 bits")
    return {name: found[name] for name in order}


def figure():
    """Three panels: range, levels, relative step."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 12), layout="constrained")
    top, middle, bottom = drawing.subplots(3, 1, height_ratios=(1, 1, 1.25))
    draw_ranges(top)
    draw_levels(middle)
    draw_steps(bottom)
    return drawing


def draw_ranges(ax):
    everything = held()
    for row, (name, numbers) in enumerate(everything.items()):
        positive, color = numbers[numbers > 0], COLORS[name[:2]]
        format = floats.FORMATS.get(name)
        normal = 2.0 ** (1 - format.bias) if isinstance(format, floats.Float) else positive[0]
        ax.plot([positive[0], normal], [row, row], color=color, lw=5, alpha=0.35, solid_capstyle="butt")
        ax.plot([normal, positive[-1]], [row, row], color=color, lw=5, solid_capstyle="butt")
        ax.text(positive[-1] * 4, row, f"{positive[0]:.3g} to {positive[-1]:.5g}", va="center", fontsize=9)
    ax.set(xscale="log", xlim=(1e-42, 1e66), yticks=range(len(everything)), yticklabels=everything)
    ax.set(title="From the smallest number above 0 to the largest (pale: subnormal, with fewer digits)")
    ax.set_xticks([10.0**power for power in range(-40, 41, 10)])
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.25)


def draw_levels(ax):
    small = {name: numbers / numbers[-1] for name, numbers in held().items() if name not in FLOATS[:2]}
    for row, (name, numbers) in enumerate(small.items()):
        ax.vlines(numbers, row - 0.36, row + 0.36, color=COLORS[name[:2]], lw=0.7 if len(numbers) > 20 else 1.6)
        ax.text(1.03, row, f"{len(numbers)} levels", va="center", fontsize=9)
    ax.set(yticks=range(len(small)), yticklabels=small, xlim=(-1.03, 1.26), xticks=np.linspace(-1, 1, 9))
    ax.set(title="Where the levels lie, with the largest at 1: as weights see them, once they have a scale")
    ax.invert_yaxis()


def draw_steps(ax):
    styles = {"int8": "-", "int4": "--", "fp8_e4m3": "-", "fp8_e5m2": ":", "fp4_e2m1": "--", "nf4": "--"}
    for name, numbers in held().items():
        numbers = numbers[numbers > 0] / (1 if name in FLOATS[:2] else numbers[-1])
        share = np.diff(numbers) / numbers[:-1]
        seen = numbers[:-1] > 2e-7
        numbers, share = np.append(numbers[:-1][seen], numbers[-1]), np.append(share[seen], share[-1])
        numbers, share = numbers[numbers <= 1], share[numbers <= 1]
        color = {"int8": ORANGE, "int4": "#e0a27a", "fp16": INK, "bf16": GREY, "nf4": GREEN}.get(name, BLUE)
        color = "#8cc29a" if name.startswith("power") else "#7aa8d8" if name == "fp4_e2m1" else color
        ax.step(numbers, 100 * share, where="post", label=name, color=color, ls=styles.get(name, "-"), lw=1.5)
    ax.set(xscale="log", yscale="log", xlim=(1e-6, 1.2), ylim=(0.03, 1500), xlabel="magnitude (positive, the largest = 1; "
           "fp16 and bf16 as they are)", ylabel="step to the next number, % of it")  # fmt: skip
    ax.set(title="How fine the steps are: a float's are the same share of large and small, an integer's are not")
    ax.grid(alpha=0.25)
    ax.legend(fontsize=9, ncols=3, frameon=False, loc="upper center", bbox_to_anchor=(0.42, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="where the figure is written, a .png file")
    parser.add_argument("--figure-only", action="store_true", help="train nothing")
    options = parser.parse_args()
    if not options.figure_only:
        table(options.seed)
    if options.out:
        figure().savefig(options.out, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
