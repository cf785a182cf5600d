"""What the tests of lesson 18 and its notebook share: references of 18.1 and 18.5, slow loops, drawings."""

import math

import numpy as np

from tinyopt import Tensor, nn
from tinyopt.compress.distill import distillation_loss, soften
from tinyopt.course import Wrong, recognise, same

TEACHER = np.log([25.0, 4.0, 1.0])  # exercise 18.1: its logits, of one image and three classes
STUDENT = np.log([1.0, 4.0, 1.0])
TEMPERATURE = 2.0
FRIEND = {"alpha": 0.5, "temperature": 3.0}  # exercise 18.5: set so, but T² was forgotten


def predict():
    """What the package finds for exercise 18.1: both softened probabilities, and KL(p ‖ q)."""
    p, q = soften(TEACHER, TEMPERATURE), soften(STUDENT, TEMPERATURE)
    z, v = Tensor(STUDENT[np.newaxis]), TEACHER[np.newaxis]
    loss = distillation_loss(z, v, [0], temperature=TEMPERATURE, alpha=1)
    return p.tolist(), q.tolist(), loss.item() / TEMPERATURE**2


def witness():
    """The alpha at which the right loss pulls as the friend's does, from the size of the soft gradient."""
    student, teacher, target = examples(1)
    soft = gradient(distillation_loss, student, teacher, target, alpha=1, temperature=FRIEND["temperature"])
    friends = FRIEND["alpha"] * soft / FRIEND["temperature"] ** 2  # without T²
    right = np.linalg.norm(friends) / np.linalg.norm(soft)
    return float(right / (right + 1 - FRIEND["alpha"]))


def examples(seed, n=4, n_classes=5):
    """Logits of a student and a teacher (n, n_classes), and labels, to test on."""
    rng = np.random.default_rng(seed)
    student, teacher = rng.normal(size=(2, n, n_classes)) * 2
    return student, teacher, rng.integers(0, n_classes, size=n)


def gradient(loss, student, teacher, target, **settings):
    """∂L/∂z_student of a loss, an array."""
    z = Tensor(student, requires_grad=True)
    loss(z, teacher, target, **settings).backward()
    return z.grad


def slow_soften(row, temperature):
    """One row of probabilities in plain Python: the slow oracle of `soften`."""
    powers = [math.exp((z - max(row)) / temperature) for z in row]
    return np.array([power / sum(powers) for power in powers])


def slow_loss(student, teacher, labels, temperature, alpha):
    """The loss in plain loops over images and classes: the slow oracle of `distillation_loss`."""
    total = 0.0
    for z, v, label in zip(student, teacher, labels):
        q_sum, p_sum = (sum(math.exp(x / temperature) for x in row) for row in (z, v))
        divergence = 0.0
        for a, b in zip(z, v):
            q, p = math.exp(a / temperature) / q_sum, math.exp(b / temperature) / p_sum
            divergence += p * (math.log(p) - math.log(q))
        surprise = -math.log(math.exp(z[label]) / sum(math.exp(x) for x in z))
        total += alpha * temperature**2 * divergence + (1 - alpha) * surprise
    return total / len(labels)


def divergence_mistakes(p, q):
    """{what is wrong: the value of KL(p ‖ q) that it gives}, of one image by hand."""
    due = float((p * np.log(p / q)).sum())
    return {
        "This is KL(q ‖ p), the other direction: p comes first.": float((q * np.log(q / p)).sum()),
        "This is in bits. The loss uses the natural logarithm, ln: nats.": due / np.log(2),
        "The logarithm has base 10. The loss uses the natural one, ln.": due / np.log(10),
        "Its sign is turned. KL is never below 0: ln p − ln q.": -due,
        "The factor T² is in it. It belongs to the loss; KL itself has none.": TEMPERATURE**2 * due,
        "This is the cross-entropy −Σ p ln q. KL adds Σ p ln p.": float(-(p * np.log(q)).sum()),
        "Some parts are negative: ln 0.5 is. No absolute values.": float(abs(p * np.log(p / q)).sum()),
    }


def soft_mistakes(z, v, T):
    """{what is wrong: the soft term that it gives}; logits z of the student, v of the teacher."""
    n, c = z.shape
    p, q, p1, q1 = soften(v, T), soften(z, T), soften(v, 1), soften(z, 1)

    def kl(a, b):
        return float((a * (np.log(a) - np.log(b))).sum() / n)

    right = T**2 * kl(p, q)
    return {
        "The factor T² is missing.": kl(p, q),
        "The factor is T², not T.": T * kl(p, q),
        "The teacher's logits are not divided by T. Soften both sides.": T**2 * kl(p1, q),
        "The student's logits are not divided by T. Soften both sides.": T**2 * kl(p, q1),
        "Nothing was softened: both sides at T = 1.": T**2 * kl(p1, q1),
        "This is KL(q ‖ p), the wrong direction. The teacher's p stands in front.": T**2 * kl(q, p),
        "It was divided by N · C. The mean is over the N images: sum over the classes.": right / c,
        "It is the sum over the images. Divide by N.": right * n,
        "Its sign is turned: log p − log q.": -right,
        "p · (p − q): the logarithms are missing.": T**2 * float((p * (p - q)).sum() / n),
        "This is −Σ p log q; Σ p log p of the teacher is missing.": T**2 * float(-(p * np.log(q)).sum() / n),
        "The soft term is 0. Is the teacher's part in the sum?": 0.0,
    }


def judge_row(came, logits, who):
    """One row of probabilities by hand, with a look at the classic mistakes."""
    sharp, plain, due = (slow_soften(logits, T) for T in (0.5, 1.0, 2.0))
    if np.shape(came) != (3,):
        raise Wrong(f"{who} has three probabilities, one for each class.", {"yours": repr(came)[:80]})
    came = np.array(came, dtype=float)
    facts = {"yours": came.round(4).tolist()}
    recognise(came, {
        f"{who} is the softmax at T = 1. At T = 2, exp(½ ln 25) is √25.": plain,
        f"{who} was made sharper: z · T instead of z / T.": sharp,
        f"{who} does not sum to 1. Divide by the sum of the three numbers.": np.exp(logits / 2),
    }, facts, atol=5e-3)  # fmt: skip
    halves = np.where(logits == 0, 1, np.exp(logits) / 2)  # of the teacher: 25/2, 4/2, 1
    wrong = any(np.allclose(came, row, atol=5e-3) for row in (halves, halves / halves.sum()))
    if wrong and not np.allclose(came, due, atol=5e-3):
        raise Wrong(f"{who}: exp(½ ln 25) is the root of 25, not its half. (For 4 both are 2.)", facts)
    if not np.isclose(came.sum(), 1, atol=5e-3):
        raise Wrong(f"{who} sums to {came.sum():.4g}. Probabilities sum to 1.", facts)
    same(came, due, who, rtol=0, atol=2e-3)


def network():
    """A model in which one layer's name begins, or ends, like another's: body.fc1, body.fc10, fc1, head."""
    inner = nn.Sequential(fc1=nn.Linear(4, 3, rng=0), relu=nn.ReLU(), fc10=nn.Linear(3, 3, rng=1))
    return nn.Sequential(body=inner, fc1=nn.Linear(3, 2, rng=2), head=nn.Linear(2, 2, rng=3))


CASES = [  # what `but` may be, and what should still learn then
    (("head",), {"head.weight", "head.bias"}),
    (("fc1",), {"fc1.weight", "fc1.bias"}),
    (("body", "head"), {f"{n}.{k}" for n in ("body.fc1", "body.fc10", "head") for k in ("weight", "bias")}),
    (("body.fc1", "head.bias"), {"body.fc1.weight", "body.fc1.bias", "head.bias"}),
]


def judge_frozen(model, due, but):
    """Compare what is trained with what should be."""
    came = {name for name, p in model.named_parameters() if p.requires_grad}
    everything = {name for name, _ in model.named_parameters()}
    facts = {"but": but, "trained": ", ".join(sorted(came)) or "none", "due": ", ".join(sorted(due))}
    if came == everything - due:
        raise Wrong("It is turned round: the layers named in `but` are the ones that still learn.", facts)
    if came == everything and due != everything:
        raise Wrong("Nothing was frozen: set parameter.requires_grad to False.", facts)
    if came > due and all(any(part in name for part in but) for name in came):
        raise Wrong('A layer only looks like one of `but`: "fc10" is not in "fc1", nor is "body.fc1". A name '
                    'is the layer\'s own if it begins with "fc1." (with the dot).', facts)  # fmt: skip
    if came and came < due and all(name.endswith("weight") for name in came):
        raise Wrong("A layer named in `but` has a bias too.", facts)
    inner = {name for name in due if any("." in part and name.startswith(part + ".") for part in but)}
    if inner and came == due - inner:
        raise Wrong(
            'A layer inside another one was not found: "body.fc1" in `but` is the name of a layer.', facts
        )
    if came < due and due - came <= set(but):
        raise Wrong('A name in `but` may be that of a parameter itself, such as "head.bias".', facts)
    if came != due:
        raise Wrong("Other parameters are trained than those of `but`.", facts)


def draw_doubts(axes, image, logits, label, temperatures):
    """One row: an image, then the probabilities of its ten classes at each temperature."""
    axes[0].imshow(image, cmap="gray_r")
    axes[0].set(xticks=[], yticks=[], title=f'label "{label}"')
    for ax, temperature in zip(axes[1:], temperatures):
        colours = ["C2" if c == label else "C3" for c in range(len(logits))]
        ax.bar(range(len(logits)), soften(logits, temperature), color=colours)
        ax.set(ylim=(0, 1.05), xticks=range(0, 10, 2), title=f"T = {temperature}")
        ax.tick_params(labelleft=ax is axes[1])
    axes[1].set_ylabel("probability")


def draw_softening(ax, logits, names):
    """The probability of each class against the temperature, with points at T = 1 and 2."""
    temperatures = np.geomspace(0.25, 64, 60)
    lines = ax.semilogx(temperatures, [soften(logits, T) for T in temperatures])
    for line, name in zip(lines, names):
        line.set_label(name)
    for T in (1, 2):
        ax.plot([T] * len(logits), soften(logits, T), "ko", ms=4)
    ax.axhline(1 / len(logits), color="0.6", ls=":")
    ax.set(xlabel="temperature T, log scale", ylabel="probability", xticks=[0.25, 1, 2, 4, 16, 64])
    ax.set_xticklabels(["1/4", "1", "2", "4", "16", "64"])
    ax.minorticks_off()
    ax.legend(frameon=False)


def draw_bars(ax, heights, errors, colours):
    """Bars with their deviation: heights {name: number}, errors {name: number}, in percent."""
    for x, (name, height) in enumerate(heights.items()):
        ax.bar(x, height, 0.6, color=colours[x], yerr=errors[name], capsize=4)
        ax.annotate(f"{height:.1f}", (x, height + errors[name]), (0, 4), ha="center", fontsize=9,
                    textcoords="offset points")  # fmt: skip
    ax.set(xticks=range(len(heights)), ylim=(0, 112))
    ax.set_xticklabels(list(heights), fontsize=9)


def draw_temperatures(ax, lines, colours, baseline, colour):
    """Accuracy in percent at T = 2, 4, 8: lines {name: three numbers}; the baseline has no teacher."""
    for (name, heights), line_colour in zip(lines.items(), colours):
        ax.plot([2, 4, 8], heights, "o-", color=line_colour, label=name)
    known = ax.get_legend_handles_labels()[1]
    dotted = "without a teacher"
    ax.axhline(baseline, color=colour, ls=":", label=None if dotted in known else dotted)
    ax.set(xscale="log", xticks=[2, 4, 8], xlabel="temperature T (α = 0.5)", ylabel="validation accuracy, %")
    ax.set_xticklabels(["2", "4", "8"])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=9, ncols=2)


def draw_scores(ax, scores, sizes, teacher):
    """Groups of bars, one for each number of images: scores {name: {number of images: accuracies}}."""
    for shift, (name, by_size), colour in zip((-0.25, 0, 0.25), scores.items(), ("0.6", "C2", "C0")):
        at = [list(sizes).index(n) + shift for n in by_size]
        means = [100 * x.mean() for x in by_size.values()]
        deviations = [100 * x.std(ddof=1) for x in by_size.values()]
        bars = ax.bar(at, means, 0.24, yerr=deviations, capsize=3, color=colour, label=name)
        ax.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    ax.axhline(teacher, color="k", ls=":", label="the teacher")
    ax.set(xticks=range(len(sizes)), xticklabels=[f"{n:,} images" for n in sizes], ylabel="test accuracy, %")
    ax.set_ylim(50, 112)
    ax.legend(frameon=False, ncols=4, fontsize=9, loc="upper center")


def draw_recalls(ax, curve, name, colour):
    """Recall of class 3 against that of the others, in percent; row 0 as trained, row 1 the chosen shift."""
    ax.plot(curve[2:, 1], curve[2:, 0], color=colour, label=name)
    first = len(ax.lines) == 1
    texts = "as trained", "shift chosen on validation"
    for (threes, others, _), mark, size, text in zip(curve, "o*", (6, 13), texts):
        ax.plot(others, threes, mark, color=colour, ms=size, label=text if first else None)
    ax.set(xlabel="recall of the nine other digits, test, %", ylabel="recall of the 3s, test, %")


def draw_own_and_taught(ax, own, theirs, alone):
    """Each teacher's own accuracy beside that of its students; a band for students with labels only."""
    for shift, scores, colour, name in (
        (-0.2, own, "0.6", "the teacher itself"),
        (0.2, theirs, "C2", "its student"),
    ):
        means, deviations = (
            [100 * f(x) for x in scores.values()] for f in (np.mean, lambda x: np.std(x, ddof=1))
        )
        at = np.arange(len(scores)) + shift
        bars = ax.bar(at, means, 0.38, yerr=deviations, capsize=3, color=colour, label=name)
        ax.bar_label(bars, fmt="%.1f", fontsize=9, padding=2)
    ax.axhline(100 * alone.mean(), color="C0", ls=":", label="student, 500 labels only")
    ax.set(xticks=range(len(own)), xticklabels=list(own), ylim=(75, 95))
    ax.set(ylabel="test accuracy, %\n(mean ± deviation, 5 seeds)", xlabel="teacher (axis from 75 %)")
    ax.legend(frameon=False, fontsize=9, ncols=3, loc="upper center")


def draw_attention(axes, images, maps):
    """Rows of images, then columns of maps {name: (N, h, w)}, each scaled to its own largest number."""
    for row, image in zip(axes, images):
        row[0].imshow(image, cmap="gray_r")
    for column, (name, several) in enumerate(maps.items(), 1):
        axes[0, column].set_title(name)
        for row, one in zip(axes, several):
            row[column].imshow(one, cmap="magma", vmin=0)
    axes[0, 0].set_title("image")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])


def draw_norms(ax, temperatures, norms):
    """Lengths of gradients against the temperature: norms {name: one for each temperature}; red, green, dotted."""
    for (name, values), style in zip(norms.items(), ("C3o-", "C2o-", "k:")):
        ax.loglog(temperatures, values, style, label=name, base=2)
    ax.set(xlabel="temperature T, log scale", ylabel="mean length of the gradient\nof one image, log scale")
    ax.legend(frameon=False)


def draw_gaps(ax, gaps, mean):
    """Sorted differences, in points, as bars: green above 0, red below; a dotted line at the pairs' mean."""
    ax.bar(range(len(gaps)), gaps, color=["C2" if gap > 0 else "C3" for gap in gaps])
    ax.axhline(mean, color="k", ls=":", label="mean of the five pairs")
    ax.set(
        xlabel="25 comparisons of one seed with one seed, sorted",
        ylabel="taught − labels only,\npoints",
        xticks=[],
    )
    ax.legend(frameon=False)


def draw_each_seed(ax, groups):
    """Accuracy in percent: a thin line for each seed over groups {name: accuracies}, a bar for each mean."""
    ax.plot(range(len(groups)), [100 * x for x in groups.values()], "o-", color="0.7", ms=4, lw=1)
    for x, values in enumerate(groups.values()):
        ax.plot([x - 0.25, x + 0.25], [100 * values.mean()] * 2, "C3", lw=3)
        ax.annotate(
            f"{100 * values.mean():.1f}", (x + 0.28, 100 * values.mean()), color="C3", va="center", fontsize=9
        )
    ax.set(xticks=range(len(groups)), xlim=(-0.4, len(groups) - 0.3))
    ax.set_xticklabels(list(groups), fontsize=9)


def slow_attention(features, power):
    """The maps in loops over images, pixels and channels: the slow oracle of `attention_map`."""
    maps = []
    for image in features:
        n_channels, height, width = image.shape
        Q = [
            sum(abs(image[c, h, w]) ** power for c in range(n_channels))
            for h in range(height)
            for w in range(width)
        ]
        maps.append([q / max(math.sqrt(sum(q * q for q in Q)), 1e-12) for q in Q])
    return np.array(maps)


def attention_mistakes(A, power):
    """{what is wrong: the maps that it gives} of features (N, C, H, W)."""
    n, flat = len(A), A.reshape(*A.shape[:2], -1)
    Q = (abs(flat) ** power).sum(axis=1)

    def scaled(q):
        return q / np.sqrt((q**2).sum(axis=1, keepdims=True))

    mistakes = {
        "The map was not divided by its length ‖Q‖₂.": Q,
        "It was divided by the sum of Q. Its length is the root of the sum of squares.":
            Q / Q.sum(axis=1)[:, None],
        "It was divided by the root of Σ Q. ‖Q‖₂ is the root of Σ Q²: Q is squared once more.":
            Q / np.sqrt(Q.sum(axis=1))[:, None],
        "It was divided by the root of the mean of Q². The length has the sum.":
            Q / np.sqrt((Q**2).mean(axis=1))[:, None],
        "It was divided by ‖Q‖₂ squared: a root is missing.": Q / (Q**2).sum(axis=1)[:, None],
        "It was divided by its largest number. The length ‖Q‖₂ is due.": Q / Q.max(axis=1)[:, None],
        "The channels were summed before the power: signs cancel. First the power, then the sum.":
            scaled(abs(flat.sum(axis=1)) ** power),
        "abs is missing: with an odd power, negative numbers cancel.": scaled((flat**power).sum(axis=1)),
        "The power has no effect, it is always 2.": scaled((flat**2).sum(axis=1)),
        "The power is missing: |A| alone was summed.": scaled(abs(flat).sum(axis=1)),
        "Only the strongest channel was taken. Sum over them.": scaled((abs(flat) ** power).max(axis=1)),
        "The sum runs over the pixels. Channels are axis 1.": scaled((abs(flat) ** power).sum(axis=2)),
        "reshape moved no axis: numbers of different pixels were summed. First sum over axis 1, then reshape.":
            scaled((abs(flat) ** power).reshape(n, flat.shape[2], -1).sum(axis=2)),
    }  # fmt: skip
    if n > 1:
        says = "One length for all images together. Each image has its own: axis=1, keepdims=True."
        mistakes[says] = Q / np.sqrt((Q**2).sum())
    return mistakes


def slopes(f, x, step=1e-5):
    """The gradient of a number f(x) by central differences."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (f(up) - f(down)) / (2 * step)
    return gradient


def mutual_parts(z, y):
    """Of K students: the labels' losses (K,), and KL[l, k] = KL(p_l ‖ p_k), means over the images."""
    p = soften(z, 1)
    hard = -np.log(p[:, np.arange(len(y)), y]).mean(axis=1)
    kl = np.array([[(a * (np.log(a) - np.log(b))).sum(axis=1).mean() for b in p] for a in p])
    return hard, kl


def slow_mutual(z, y):
    """The loss of each of K students, z (K, N, C): the oracle of `mutual_losses`."""
    hard, kl = mutual_parts(z, y)
    others = [[kl[j, k] for j in range(len(z)) if j != k] for k in range(len(z))]
    return [h + sum(heard) / len(heard) for h, heard in zip(hard, others)]


def mutual_mistakes(z, y):
    """{what is wrong: the losses that it gives}."""
    (hard, kl), n = mutual_parts(z, y), len(z)
    p, heard = soften(z, 1), kl.sum(axis=0)
    middle = [np.mean([p[j] for j in range(n) if j != k], axis=0) for k in range(n)]
    of_mean = np.array([(m * np.log(m / q)).sum(axis=1).mean() for m, q in zip(middle, p)])
    cross = np.array([np.mean([-(p[j] * np.log(q)).sum(axis=1).mean() for j in range(n) if j != k])
                      for k, q in enumerate(p)])  # fmt: skip
    everyone = p.mean(axis=0)
    of_all = np.array([(everyone * np.log(everyone / q)).sum(axis=1).mean() for q in p])
    mistakes = {
        "This is KL from the mean of the whole cohort. Student k is in it: take the others one by one, l ≠ k.":
            hard + of_all,
        "This is KL(p_k ‖ p_l), the wrong direction: the other student teaches, its p stands in front.":
            hard + kl.sum(axis=1) / (n - 1),
        "The others are not heard: these are the labels' losses alone. KL from itself is 0.": hard,
        "It was divided by K. A student hears K − 1 others, not itself.": hard + heard / n,
        "The sign of KL is turned: so they would flee from each other.": hard - heard / (n - 1),
        "This is the cross-entropy −Σ p_l log p_k; Σ p_l log p_l is missing.": hard + cross,
        "The labels count twice.": 2 * hard + heard / (n - 1),
    }  # fmt: skip
    if n > 2:
        mistakes |= {
            "It is the sum over the others. Divide by K − 1.": hard + heard,
            "1/(K − 1) belongs to the sum of the KLs only, not to the labels' loss.": (hard + heard) / (n - 1),
            "This is KL from the mean of the others' p. The mean of the KLs is due.": hard + of_mean,
            "Only the next student is heard. All are due.": hard + [kl[(k + 1) % n, k] for k in range(n)],
            "Only the one before is heard. All are due.": hard + [kl[k - 1, k] for k in range(n)],
            "Only student 1 is heard. Each hears all others.": hard + kl[0],
        }  # fmt: skip
    return mistakes
