"""Does teaching help? OPENBLAS_NUM_THREADS=1 python tests/benchmarks/distillation.py [--data mnist5k,fashion_mnist]
[--labels 100] [--seeds 5] [--methods ...] [--teacher few|all] [--choose] [--results FILE.jsonl] [--out FILE.png]
[--full]

A small LeNet-5 (4 and 8 filters, 16 units: 2,250 weights) learns from a few labelled images of the training part,
alone or taught. Each seed draws other images, first weights and batches; with one seed all methods get the same. The
teacher is a LeNet-5 of 16 and 32 filters. With `--teacher few` it knows no more labels than the student; with `all` it
has seen up to 10,000, as a model that somebody else trained has, and is one for all seeds. Images are halved to 14×14
by means of 2×2 pixels, unless `--full`. Everyone has 300 steps of 32 images, but for the control "three times the steps"
and those that need more than one student.

Chosen on the validation part (`--choose` stops after that, and prints its table): temperature and alpha for a network
and for a forest as teachers, and for fine-tuning, the smoothing of labels, β of attention, and the rate for logits; each
with two other seeds. The other rates and the 300 steps were set by hand, on the validation part of both data sets. The
grids of β (1000 was the highest), of the rate for logits, and of fine-tuning were mended after a first run, whose table
had been read: at the network's temperature of 4 the pruned model was worse taught than not, by 6 points, and on the
validation part, too. The test part is read for the last table only, by models that were saved and loaded. The validation
part holds more labels than some students see: somebody who has 100 labels and no more cannot choose so well.

Printed, for each data set and number of labels: accuracy, mean ± standard deviation over the seeds; its paired
difference from the base, with its standard error; how many test images more (fewer) seeds name rightly than the base's
do; and p, the larger of two: a paired t test over the seeds (would other runs agree?), and McNemar's test over those
images (would other images?). Holm's correction is over the rows of a table. The verdict is "helps" or "hurts" where the
corrected p is below 0.05, and else says that no difference was seen, which is not the same as that there is none.

The base is "labels alone"; where a method of fine-tuning is tried, the same method on the labels: the teacher network
itself, with 95 % of its weights pruned or with 2-bit weights, is trained on by `taught_by` its former self.

--results keeps each run in a file, and leaves out what is there already: a study can be made in pieces.
"""

import argparse
import base64
import copy
import dataclasses
import functools
import itertools
import json
import math
import os
import sys
import tempfile
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the library reads it when it is loaded

import numpy as np

import tinyopt
from tinyopt import compress, data, measure, models, optim, train
from tinyopt.compress import hints, teachers
from tinyopt.losses import cross_entropy
from tinyopt.measure.table import text_table
from tinyopt.report.teaching import paired_differences

STEPS, BATCH, MANY, POOL = 300, 32, 10_000, 2_000
STUDENT_LR, TEACHER_LR, MEND_LR = 0.01, 0.003, 0.001
CHOOSE_SEEDS = 900, 901
GRIDS = {
    "network": list(itertools.product((4.0, 2.0, 1.0, 8.0), (0.9, 0.5))),  # (temperature, alpha)
    "forest": list(itertools.product((1.0, 2.0, 4.0), (0.9, 0.5))),
    "smoothing": [0.1, 0.05, 0.2],
    "beta": [100.0, 10.0, 1.0],
    "logits": [STUDENT_LR, 0.3 * STUDENT_LR],  # the learning rate: no softmax keeps these gradients small
    "pruned": [(4.0, 0.9), (2.0, 0.9), (1.0, 0.9)],  # (temperature, alpha) for the network's own repair
    "QAT": [(4.0, 0.9), (2.0, 0.9), (1.0, 0.9)],
}
KEYS = ("data", "labels", "teacher", "full")  # what tells one table from another


# --- the world of one seed --------------------------------------------------------------------------------


@functools.cache
def load(name, full):
    """A data set, halved unless `full`."""
    whole = data.load(name)
    if full:
        return whole

    def halved(part):
        n, channels, height, width = part.images.shape
        cells = part.images.reshape(n, channels, height // 2, 2, width // 2, 2)
        return data.Part(cells.mean(axis=(3, 5)), part.labels)

    return dataclasses.replace(whole, train=halved(whole.train), val=halved(whole.val), test=halved(whole.test))


class World:
    """What all methods of one seed share: the labelled images, images without labels, and the teachers."""

    def __init__(self, key, seed, chosen=None):
        self.name, n_labels, self.knows, self.full = key
        self.data, self.seed, self.chosen = load(self.name, self.full), seed, chosen
        order = np.random.default_rng([seed, n_labels]).permutation(len(self.data.train))
        self.part = self.data.train.take(order[:n_labels])
        self.pool = self.data.train.take(order[n_labels : n_labels + POOL]).images
        self.side = self.part.images.shape[-1]

    def net(self, filters, units, seed):
        return models.lenet5(image_size=self.side, filters=filters, units=units, rng=seed)

    def student(self, k=0):
        return self.net((4, 8), 16, 1000 * k + self.seed)

    @functools.cached_property
    def known(self):
        """The world of what the teachers have learnt: this one, or one of many labels that all seeds share."""
        return self if self.knows == "few" else world_of_many(self.name, self.full)

    @functools.cached_property
    def networks(self):
        """Three teachers that differ in their first weights and batches."""
        if self.known is not self:
            return self.known.networks
        nets = [self.net((16, 32), 128, 7000 + 10 * self.seed + k) for k in range(3)]
        for k, net in enumerate(nets):
            steps = STEPS if len(self.part) < MANY // 4 else 3 * STEPS
            self.fit(net, lr=TEACHER_LR, seed=self.seed + 100 * k, steps=steps)
        return nets

    @property
    def teacher(self):
        return self.networks[0]

    @functools.cached_property
    def forest(self):
        from sklearn.ensemble import RandomForestClassifier

        if self.known is not self:
            return self.known.forest
        rows = self.part.images.reshape(len(self.part), -1)
        trees = RandomForestClassifier(200, random_state=self.seed, n_jobs=1).fit(rows, self.part.labels)
        return teachers.predictor(trees.predict_proba)

    def fit(self, model, part=None, *, steps=STEPS, lr=STUDENT_LR, seed=None, **settings):
        """Train for a number of steps, whatever the number of images; the rate falls along half a cosine."""
        optimizer = optim.Adam(model.parameters(), lr=lr)
        train.fit(model, (part or self.part, None), optimizer=optimizer, **self.steps(steps, part, seed), **settings)
        return model

    def steps(self, steps=STEPS, part=None, seed=None):
        """The settings of `train.fit` for a number of steps."""
        epochs = round(steps / math.ceil(len(part or self.part) / BATCH))
        settings = {"batch_size": BATCH, "schedule": train.cosine, "progress": False}
        return {"epochs": max(1, epochs), "seed": self.seed if seed is None else seed, **settings}

    def taught(self, teacher, setting):
        temperature, alpha = setting
        objective = teachers.taught_from(teachers.remembered(teacher), temperature=temperature, alpha=alpha)
        return self.fit(self.student(), objective=objective)


@functools.cache
def world_of_many(name, full):
    """A world in which all labels of the training part are known, or MANY."""
    return World((name, min(MANY, len(load(name, full).train)), "few", full), 0)


# --- the methods: each makes one trained model ------------------------------------------------------------


def smoothed(amount):
    def objective(model, images, labels):
        logits = model(images)
        return cross_entropy(logits, labels, label_smoothing=amount), logits

    return objective


def fitnets(world):
    student = world.student()
    first = {"hint": "conv2", "guided": "conv2", "rng": world.seed, "optimizer": adam}
    hints.fit_hints(student, world.teacher, (world.part, None), **first, **world.steps(STEPS // 3))
    temperature, alpha = world.chosen["network"]
    objective = teachers.taught_from(teachers.remembered(world.teacher), temperature=temperature, alpha=alpha)
    return world.fit(student, objective=objective, steps=STEPS - STEPS // 3)


def attention(world, beta=None):
    pairs = {"conv1": "conv1", "conv2": "conv2"}
    objective = hints.attends(world.teacher, pairs, beta=world.chosen["beta"] if beta is None else beta)
    return world.fit(world.student(), objective=objective)


def unlabelled(world):
    both = teachers.with_unlabelled(world.part, world.pool, world.teacher)
    return world.fit(world.student(), both)


def adam(params):
    return optim.Adam(params, lr=STUDENT_LR)


def born_again(world):
    temperature, alpha = world.chosen["network"]
    settings = {"generations": 3, "temperature": temperature, "alpha": alpha, "optimizer": adam, **world.steps()}
    return teachers.born_again(world.student, (world.part, None), **settings)[-1]


def assistant(world):
    temperature, alpha = world.chosen["network"]
    students = [world.net((8, 16), 48, 5000 + world.seed), world.student()]
    settings = {"temperature": temperature, "alpha": alpha, "optimizer": adam, **world.steps()}
    teachers.chain(world.teacher, students, (world.part, None), **settings)
    return students[-1]


def mutual(world):
    cohort = teachers.Cohort(world.student(), world.student(1))
    return world.fit(cohort, objective=teachers.mutually).students[0]


def mended(what, world, setting=None):
    """Compress the teacher network, and train it on: on the labels, or on them and what it said before."""
    model = copy.deepcopy(world.teacher)
    if what == "pruned":
        compress.prune(model, 0.95)
        settings = {}
    else:
        settings = {"callbacks": [compress.prepare_qat(model, world.part, weight_bits=2, activation_bits=8)]}
    if setting is not None:
        temperature, alpha = setting
        settings["objective"] = compress.taught_by(world.teacher, temperature=temperature, alpha=alpha)
    return world.fit(model, lr=MEND_LR, steps=STEPS // 2, **settings)


def logits(world, lr=None):
    lr = world.chosen["logits"] if lr is None else lr
    return world.fit(world.student(), objective=hints.mimics(world.teacher), lr=lr)


METHODS = {
    "labels alone": lambda world: world.fit(world.student()),
    "control: three times the steps": lambda world: world.fit(world.student(), steps=3 * STEPS),
    "control: smoothed labels": lambda w: w.fit(w.student(), objective=smoothed(w.chosen["smoothing"])),
    "soft targets": lambda world: world.taught(world.teacher, world.chosen["network"]),
    "logits": logits,
    "hints, then soft targets": fitnets,
    "attention": attention,
    "three teachers": lambda world: world.taught(teachers.ensemble(*world.networks), world.chosen["network"]),
    "a forest": lambda world: world.taught(world.forest, world.chosen["forest"]),
    "2,000 images without labels": unlabelled,
    "an assistant in between": assistant,
    "born again, third generation": born_again,
    "two students, mutually": mutual,
    "pruned 95 %, labels": lambda world: mended("pruned", world),
    "pruned 95 %, taught": lambda world: mended("pruned", world, world.chosen["pruned"]),
    "2-bit QAT, labels": lambda world: mended("QAT", world),
    "2-bit QAT, taught": lambda world: mended("QAT", world, world.chosen["QAT"]),
}
ALONE, TEACHER = "labels alone", "the teacher itself"
BASES = {"pruned 95 %, taught": "pruned 95 %, labels", "2-bit QAT, taught": "2-bit QAT, labels"}


# --- choosing, on validation data -------------------------------------------------------------------------

TRIALS = {
    "network": lambda world, setting: world.taught(world.teacher, setting),
    "forest": lambda world, setting: world.taught(world.forest, setting),
    "smoothing": lambda world, amount: world.fit(world.student(), objective=smoothed(amount)),
    "beta": attention,
    "logits": logits,
    "pruned": lambda world, setting: mended("pruned", world, setting),
    "QAT": lambda world, setting: mended("QAT", world, setting),
}


def choose(key):
    """{what: the best setting}, and {what: [[setting, mean accuracy on the validation part], ...]}."""
    worlds, scores = [World(key, seed) for seed in CHOOSE_SEEDS], {}
    for what, trial in TRIALS.items():
        if what == "forest" and not has_forests():
            continue
        scores[what] = [
            [setting, np.mean([measure.evaluate(trial(world, setting), world.data.val).accuracy for world in worlds])]
            for setting in GRIDS[what]
        ]
    best = {what: max(tried, key=lambda pair: pair[1])[0] for what, tried in scores.items()}
    return {"chosen": best, "scores": scores}


@functools.cache
def has_forests():
    try:
        import sklearn  # noqa: F401
    except ImportError:
        print("without scikit-learn the forest is left out: pip install scikit-learn")
        return False
    return True


# --- statistics -------------------------------------------------------------------------------------------


def paired_t(differences):
    """The p-value of the paired t test: could these differences come from a mean of 0?

        t = mean / (s / √n)        p = P(|T| ≥ |t|), T with ν = n − 1 degrees of freedom
        T = √ν tan θ has density ∝ cos^(ν − 1) θ: p is a ratio of two areas

    Source: Student (1908), "The probable error of a mean", Biometrika 6(1).
    """
    differences = np.array(differences, dtype=float)
    spread = differences.std(ddof=1) / math.sqrt(len(differences))
    if spread == 0:
        return 1.0 if differences.mean() == 0 else 0.0
    nu = len(differences) - 1
    start = math.atan(abs(differences.mean()) / spread / math.sqrt(nu))

    def area(low):  # by midpoints
        step = (math.pi / 2 - low) / 20_000
        return (np.cos(low + step * (np.arange(20_000) + 0.5)) ** (nu - 1)).sum() * step

    return float(area(start) / area(0.0))


def holm(p):
    """The p-values, corrected for as many comparisons: the smallest times n, the next times n − 1, and so on.

    Source: Holm (1979), "A Simple Sequentially Rejective Multiple Test Procedure", Scand. J. Statistics 6(2).
    """
    order, corrected, largest = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def against(base, method):
    """How a method differs from its base: two arrays (seeds, images), 1 where a model is right."""
    differences = method.mean(axis=1) - base.mean(axis=1)
    change = method.sum(axis=0, dtype=int) - base.sum(axis=0, dtype=int)  # by image, over the seeds
    lost, gained = int((change < 0).sum()), int((change > 0).sum())
    p = max(paired_t(differences), measure.mcnemar(lost, gained))
    return {"differences": differences, "gained": gained, "lost": lost, "p": p}


def compare_all(right):
    """{method: its row of `against`, with the corrected p and the verdict} from {method: {seed: right}}."""
    found = {}
    for name, runs in right.items():
        base = BASES.get(name, ALONE)
        seeds = sorted(set(runs) & set(right.get(base, ())))
        if name not in (ALONE, TEACHER, *BASES.values()) and len(seeds) > 1:
            found[name] = against(*(np.array([right[which][seed] for seed in seeds]) for which in (base, name)))
    for row, corrected in zip(found.values(), holm([row["p"] for row in found.values()])):
        helps = "helps" if row["differences"].mean() > 0 else "hurts"
        row |= {"corrected": corrected, "verdict": helps if corrected < 0.05 else "no difference seen"}
    return found


def table(right):
    """The table of one data set and number of labels, from {method: {seed: which test images were named rightly}}."""
    found, rows = compare_all(right), []
    for name, runs in right.items():
        accuracy = 100 * np.array([hits.mean() for hits in runs.values()])
        spread = accuracy.std(ddof=1) if len(accuracy) > 1 else math.nan
        cells = [name, len(accuracy), f"{accuracy.mean():.1f} ± {spread:.1f}"]
        if name in found:
            row = found[name]
            d = 100 * row["differences"]
            cells += [f"{d.mean():+.1f} ± {d.std(ddof=1) / math.sqrt(len(d)):.1f}", f"+{row['gained']} −{row['lost']}"]
            cells += [f"{row['p']:.4f}", f"{row['corrected']:.3f}", row["verdict"]]
        rows.append(cells + ["–"] * (8 - len(cells)))
    return text_table(["method", "seeds", "accuracy, %", "difference", "images", "p", "Holm", "verdict"], rows)


# --- running ----------------------------------------------------------------------------------------------


class Store:
    """What was found, as lines of JSON in a file that only grows; or in memory, without a path."""

    def __init__(self, path):
        self.path, self.rows = path, []
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as lines:
                self.rows = [json.loads(line) for line in lines]

    def add(self, **row):
        self.rows.append(json.loads(json.dumps(row)))
        if self.path:
            with open(self.path, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(row) + "\n")

    def of(self, key):
        return [row for row in self.rows if tuple(row[name] for name in KEYS) == key]

    def right(self, key):
        """{method: {seed: right}}, the methods in their order here."""
        found = {name: {} for name in (TEACHER, *METHODS)}
        for row in self.of(key):
            if "method" in row:
                bits = np.frombuffer(base64.b64decode(row["right"]), np.uint8)
                found[row["method"]][row["seed"]] = np.unpackbits(bits, count=row["n"])
        return {name: runs for name, runs in found.items() if runs}


def tested(model, part, folder):
    """Save, load, and say which test images were named rightly: packed bits, their number, the file's bytes."""
    path = os.path.join(folder, "model")
    tinyopt.save(model, path)
    quality = measure.evaluate(tinyopt.load(path), part)
    right = np.packbits(quality.predictions == quality.labels)
    return {"right": base64.b64encode(right).decode(), "n": quality.n, "bytes": os.path.getsize(path)}


def run(key, seed, wanted, store, folder):
    chosen = next(row["chosen"] for row in store.of(key) if "chosen" in row)
    have = {row["method"] for row in store.of(key) if row.get("seed") == seed}
    world = World(key, seed, chosen)
    for name in [TEACHER, *wanted]:
        if name in have or (name == "a forest" and "forest" not in chosen):
            continue
        tinyopt.manual_seed(seed)
        start = time.perf_counter()
        model = world.teacher if name == TEACHER else METHODS[name](world)
        seconds = time.perf_counter() - start
        result = tested(model, world.data.test, folder)
        store.add(**dict(zip(KEYS, key)), seed=seed, method=name, seconds=round(seconds, 2), **result)


def show_choice(key, row):
    tried = [(what, *pair) for what, pairs in row["scores"].items() for pair in pairs]
    lines = [[what, str(setting), f"{100 * score:.1f}"] for what, setting, score in tried]
    print(text_table(["chosen for", "setting", "validation, %"], lines, left=2))
    print("chosen:", row["chosen"], flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist5k,fashion_mnist")
    parser.add_argument("--labels", default="100", help="how many labelled images, such as 100,500,2000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="", help="parts of names, with commas; all, if left out")
    parser.add_argument("--teacher", choices=("few", "all"), default="few")
    parser.add_argument("--full", action="store_true", help="28×28 pixels")
    parser.add_argument("--choose", action="store_true", help="choose settings on the validation part, and stop")
    parser.add_argument("--results", help="a file that keeps what was found")
    parser.add_argument("--out", help="a figure of the differences, FILE.png")
    options = parser.parse_args()
    parts = [part for part in options.methods.split(",") if part]
    wanted = [name for name in METHODS if not parts or name == ALONE or any(part in name for part in parts)]
    wanted += [base for name, base in BASES.items() if name in wanted and base not in wanted]
    store, start, panels = Store(options.results), time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, labels in itertools.product(options.data.split(","), map(int, options.labels.split(","))):
            key = (name, labels, options.teacher, options.full)
            if not any("chosen" in row for row in store.of(key)):
                store.add(**dict(zip(KEYS, key)), **choose(key))
            print(f"\n{name}, {labels} labels; teacher knows {options.teacher}")
            show_choice(key, next(row for row in store.of(key) if "chosen" in row))
            if options.choose:
                continue
            for seed in range(options.seeds):
                run(key, seed, wanted, store, folder)
            print(table(store.right(key)))
            found = compare_all(store.right(key))
            panels[f"{name}, {labels}"] = {which: (row["differences"], row["verdict"]) for which, row in found.items()}
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    if options.out:
        paired_differences(panels).savefig(options.out, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
