"""All measures of importance compared: python tests/benchmarks/importance.py [--seeds 3] [--out FILE.png]

Of weights: `lenet_300_100` on `data.digits()`, trained for 20 epochs of Adam at 0.003. Each criterion removes a share
of all weights; printed is accuracy on the test part at once, and after 3 more epochs. "obs", "obc" and "magnitude,
refitted" remove it of each layer, and refit what is left on the training images (`importance.surgeon`). "snip" and
"synflow" prune the fresh network, which is then trained for 20 + 3 epochs: they have no "at once". "movement" is
gathered while the dense network trains, the others on the training part after it.

Of neurons: the same network with batch norm behind both hidden layers. Each criterion removes a share of the neurons
of each hidden layer, which are taken out (`thin.prune_channels`); then 3 more epochs. "bn_scale, slimmed" is scored,
cut and trained on a network that was trained with network slimming's L1 term, λ = 0.003.

Test part: 360 images, read for the table alone. All settings were written down before the first run, and none was
chosen by it. Mean ± standard deviation over the seeds 0, 1, ..., in percent.
"""

import argparse
import copy
import sys
import time

import numpy as np

from tinyopt import compress, data, measure, models, nn, optim, train
from tinyopt.compress import importance, thin

WEIGHTS, NEURONS = (0.5, 0.8, 0.9, 0.95, 0.98), (0.25, 0.5, 0.75, 0.9)
EPOCHS, MORE, LR, SLIMMING = 20, 3, 0.003, 0.003
AT_START, REFITTED = ("snip", "synflow"), ("obs", "obc", "magnitude, refitted")
CONTROLS = {"random": "0.6", "magnitude": "black"}  # the two that every other is compared with


def fit(net, digits, epochs, seed, **settings):
    """Train in place."""
    optimizer = optim.Adam(net.parameters(), lr=LR)
    train.fit(net, digits, epochs=epochs, optimizer=optimizer, seed=seed, progress=False, **settings)
    return net


def accuracies(net, digits, seed):
    """On the test part: at once, and after a few more epochs."""
    at_once = measure.evaluate(net, digits.test).accuracy
    return at_once, measure.evaluate(fit(net, digits, MORE, 100 + seed), digits.test).accuracy


def of_weights(digits, seed):
    """{criterion: [(at once, after training), ...] by sparsity}, and the dense network's accuracy."""
    fresh, watch = models.lenet_300_100(image_size=8, rng=seed), importance.Movement()
    dense = fit(copy.deepcopy(fresh), digits, EPOCHS, seed, callbacks=[watch])
    scores = {"movement": watch.scores}
    found = {}
    for name in ("random", *[n for n in importance.CRITERIA if n != "random"], "absolute threshold", REFITTED[-1]):
        if name in importance.CRITERIA and name not in AT_START and name not in scores:
            scores[name] = importance.score(dense, name, digits.train, rng=seed)
        found[name] = []
        for sparsity in WEIGHTS:
            net = copy.deepcopy(fresh if name in AT_START else dense)
            if name == "snip":
                compress.prune(net, sparsity, scores=importance.score(net, name, digits.train))
            elif name == "synflow":
                importance.synflow_prune(net, sparsity, digits.train)
            elif name in REFITTED:
                importance.surgeon(net, sparsity, digits.train, scores=scores.get(name, "magnitude"))
            elif name == "absolute threshold":
                sizes = np.concatenate([abs(p.data).ravel() for p in net.parameters() if p.data.ndim > 1])
                importance.prune_below(net, float(np.quantile(sizes, sparsity)))
            else:
                compress.prune(net, sparsity, scores=scores[name])
            if name in AT_START:
                fit(net, digits, EPOCHS, seed)
            at_once, later = accuracies(net, digits, seed)
            found[name].append((np.nan if name in AT_START else at_once, later))
    return found, measure.evaluate(dense, digits.test).accuracy


def of_neurons(digits, seed):
    """{criterion: [(at once, after training), ...] by share}, and the dense network's accuracy."""

    def trained(objective=train.classify):
        rng = np.random.default_rng(seed)
        net = nn.Sequential(
            flatten=nn.Flatten(),
            fc1=nn.Linear(64, 300, rng=rng), norm1=nn.BatchNorm1d(300), relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100, rng=rng), norm2=nn.BatchNorm1d(100), relu2=nn.ReLU(),
            fc3=nn.Linear(100, 10, rng=rng),
        )  # fmt: skip
        return fit(net, digits, EPOCHS, seed, objective=objective)

    dense, slim = trained(), trained(importance.slimmed(SLIMMING))
    draw, found = np.random.default_rng(seed), {}
    for name in ("random", *importance.CHANNEL_CRITERIA, "bn_scale, slimmed"):
        net = slim if "slimmed" in name else dense
        if name == "random":
            scores = {layer: draw.random(n) for layer, n in (("fc1", 300), ("fc2", 100))}
        else:
            scores = importance.channel_scores(net, name.partition(",")[0], digits.train)
        cuts = [thin.prune_channels(net, digits.train.images[:1], scores, share) for share in NEURONS]
        found[name] = [accuracies(cut, digits, seed) for cut in cuts]
    return found, measure.evaluate(dense, digits.test).accuracy


def table(title, shares, rows, dense):
    """Print one line for each criterion."""
    print(f"\n{title}; dense {100 * np.mean(dense):.1f} ± {100 * np.std(dense, ddof=1):.1f} %")
    for when, which in (("at once", 0), (f"after {MORE} more epochs", 1)):
        print(f"  {when:22}" + "".join(f"{f'{share:.0%} removed':>15}" for share in shares))
        for name, values in rows.items():  # (seeds, shares, 2)
            mean, spread = 100 * values[..., which].mean(axis=0), 100 * values[..., which].std(axis=0, ddof=1)
            if np.isfinite(mean).all():
                print(f"    {name:20}" + "".join(f"{m:8.1f} ± {s:4.1f}" for m, s in zip(mean, spread)))


def figure(panels):
    """Accuracy against sparsity, one panel for each (title, shares, rows, dense, 0 at once or 1 later)."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(15, 10), layout="constrained")
    for ax, (title, shares, rows, dense, which) in zip(drawing.subplots(2, 2).flat, panels):
        x, lines = np.arange(len(shares)), ["o-", "s--", "^:", "v-."]
        for i, (name, values) in enumerate(rows.items()):  # a criterion looks the same in both panels
            values, beside = 100 * values[..., which], (i - len(rows) / 2) * 0.02
            if np.isfinite(values).all():
                look = {"color": CONTROLS.get(name, f"C{i % 10}"), "lw": 2.5 if name in CONTROLS else 1.2}
                mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
                ax.errorbar(x + beside, mean, spread, fmt=lines[i % 4], ms=4, capsize=2, label=name, **look)
        ax.axhline(100 * np.mean(dense), color="0.7", lw=1, zorder=0, label="dense")
        ax.set(xticks=x, xticklabels=[f"{share:.0%}" for share in shares], title=title)
        ax.set(xlabel="removed", ylabel="test accuracy, % (bars: one deviation over seeds)")
        ax.grid(alpha=0.25)
        ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return drawing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, 2 or more")
    parser.add_argument("--out", help="where the figure is written, a .png file")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("a deviation needs two seeds or more")
    digits, start, panels = data.digits(), time.perf_counter(), []
    for what, shares, run in (("weights", WEIGHTS, of_weights), ("neurons", NEURONS, of_neurons)):
        runs = [run(digits, seed) for seed in range(options.seeds)]
        rows = {name: np.array([found[name] for found, _ in runs]) for name in runs[0][0]}
        dense = [accuracy for _, accuracy in runs]
        table(f"{what}, {options.seeds} seeds", shares, rows, dense)
        panels += [(f"{what}, at once", shares, rows, dense, 0)]
        panels += [(f"{what}, after {MORE} more epochs", shares, rows, dense, 1)]
    print(f"\n{time.perf_counter() - start:.0f} s")
    if options.out:
        figure(panels).savefig(options.out, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
