"""What the tests of lesson 22 and its notebook share: a clock, lives of values, references by hand."""

import time

import numpy as np

from tinyopt import Tensor, measure, nn, ops
from tinyopt.compress.workspace import most_alive
from tinyopt.course import Wrong, recognise, same

# --- a clock ---


def in_turns(jobs, seconds=0.4, least=5, most=200):
    """{name: seconds of each run}: all jobs in turns, forward and then backward, after a warm-up.

    A job that is too short for the clock is run several times in a row, and the time is divided. The order is
    turned after each round, as what ran before leaves the caches and the memory in its own state.
    """
    repeats = {}
    for name, job in jobs.items():
        job()  # the warm-up
        began = time.perf_counter()
        job()
        repeats[name] = max(1, int(2e-4 / max(time.perf_counter() - began, 1e-7)))
    times, begin = {name: [] for name in jobs}, time.perf_counter()
    for turn in range(most):
        if turn >= least and time.perf_counter() - begin > seconds:
            break
        for name, job in list(jobs.items())[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            for _ in range(repeats[name]):
                job()
            times[name].append((time.perf_counter() - began) / repeats[name])
    return {name: np.array(found) for name, found in times.items()}


def medians(jobs, **settings):
    """{name: seconds}: the median of each job's runs."""
    return {name: float(np.median(found)) for name, found in in_turns(jobs, **settings).items()}


def median(job, **settings):
    """Seconds of one job: the median of its runs."""
    return medians({"": job}, **settings)[""]


def shown(times, unit=1e3):
    """The median, and the middle half of the runs, as text."""
    low, middle, high = unit * np.quantile(times, (0.25, 0.5, 0.75))
    return f"{middle:8.3f} ({low:.3f} … {high:.3f})"


def profile(model, x, seconds=1.0):
    """{layer: seconds}: each layer alone, on what it is given when the whole model runs; and "" the whole."""
    modules = dict(model.named_modules())
    with measure.inference(model):
        with measure.capture(model) as layers:
            model(Tensor(x))
        leaves = [name for name in layers if name and not any(True for _ in modules[name].named_children())]
        jobs = {name: lambda name=name: modules[name](*layers[name].inputs) for name in leaves}
        return medians(jobs | {"": lambda: model(Tensor(x))}, seconds=seconds)


KINDS = "conv 3×3", "depthwise 3×3", "conv 1×1", "batch norm", "ReLU", "others"


def kind_of(layer):
    """Which of KINDS a layer is."""
    if isinstance(layer, nn.Conv2d):
        return KINDS[1] if layer.groups > 1 else KINDS[2] if layer.kernel_size == (1, 1) else KINDS[0]
    names = {nn.BatchNorm2d: KINDS[3], nn.ReLU: KINDS[4]}
    return names.get(type(layer), KINDS[5])


def lives(run):
    """Sizes, first and last steps of all values that a traced run makes: value i is made by the i-th step."""
    steps = [step for step in run if not step.passes_through]
    place = {id(step): i for i, step in enumerate(steps)}
    sizes = [int(np.prod(step.output.shape)) for step in steps]
    last = [len(steps) if step.output in run.outputs
            else max(place[id(reader)] for reader in run.consumers(step.output)) for step in steps]
    return sizes, list(range(len(steps))), last, steps


# --- references ---


def lines(slope):
    """The four lines of exercise 22.1 on 2,000 numbers: pairs (array read, array written)."""
    x = np.zeros(2000, np.float32)
    t = x - 2.0
    u = t * slope
    v = u + 1.0
    y = np.maximum(v, 0)
    return [(x, t), (t, u), (u, v), (v, y)]


def moved(slope):
    """What they read and write, in MB for 2,000,000 numbers."""
    return sum(read.nbytes + written.nbytes for read, written in lines(slope)) / 1000


def predict():
    """What the package and NumPy find for the four lines: MB."""
    walks = lines(0.5)
    (x, _), (_, y) = walks[0], walks[-1]
    arrays = [x, *(written for _, written in walks)]  # x, t, u, v, y
    alive = most_alive([a.nbytes for a in arrays], [0, 0, 1, 2, 3], [4, 1, 2, 3, 4])
    return moved(0.5), (x.nbytes + y.nbytes) / 1000, alive / 1000, moved(np.float64(0.5))


ROW, FILTER = np.array([4.0, 2, 6, 2, 4]), np.array([3.0, 1, 2])  # of exercise 22.3
SLOPE, SHIFT = 0.5, -1.0


def slide(row, kernel, pad=0.0, bias=0.0):
    """A convolution of a row, with a frame of `pad` around it."""
    framed = np.concatenate([[pad], row, [pad]]).reshape(1, 1, 1, -1)
    return ops.conv2d(Tensor(framed), Tensor(kernel.reshape(1, 1, 1, -1))).numpy().reshape(-1) + bias


def explain():
    """Errors of the folded row at its first, middle and last pixel, and the frame that has none."""
    due = slide(SLOPE * ROW + SHIFT, FILTER)
    error = slide(ROW, SLOPE * FILTER, bias=SHIFT * FILTER.sum()) - due
    return float(error[0]), float(error[2]), float(error[4]), -SHIFT / SLOPE


def normed(x, weight, bias, gamma, beta, mean, var, eps):
    """A layer, then a norm in eval mode: what the folded layer must compute."""
    layer = ops.linear if weight.ndim == 2 else ops.conv2d
    y = layer(Tensor(x), Tensor(weight), None if bias is None else Tensor(bias)).numpy()
    column = [-1, *[1] * (y.ndim - 2)]
    gamma, beta, mean, var = (part.reshape(column) for part in (gamma, beta, mean, var))
    return gamma * (y - mean) / np.sqrt(var + eps) + beta


# --- tests ---


def parts(answer, count, form):
    """The answer as a list of `count` things, or a sentence that says what is due."""
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != count:
        raise Wrong(f"{count} things are due: {form}", {"yours": repr(answer)})
    return list(answer)


def expect(came, due, what, mistakes, **settings):
    """`same`, but first the sentence of the mistake, {sentence: what it makes}, that gives just what came."""
    recognise(came, mistakes, {"yours": came}, due=due, rtol=1e-6)
    same(came, due, what, **settings)


def end_of(offsets, sizes):
    """How many numbers a plan takes."""
    return max((int(o) + s for o, s in zip(offsets, sizes)), default=0)


def clash(offsets, sizes, first, last):
    """Two values that overlap while both are alive, or None."""
    for i in range(len(sizes)):
        for j in range(i):
            together = first[j] <= last[i] and first[i] <= last[j]
            if together and offsets[i] < offsets[j] + sizes[j] and offsets[j] < offsets[i] + sizes[i]:
                return j, i
    return None


def behind_a_lower(offsets, lives, both):
    """Of two values that overlap, does one begin at the end of a third, which the other one reaches over?"""
    sizes, first, last = lives
    ends = np.asarray(offsets) + sizes
    for low, high in (both, both[::-1]):
        for k in set(range(len(sizes))) - {low, high}:
            together = first[k] <= last[high] and first[high] <= last[k]
            if together and offsets[low] <= offsets[k] and ends[k] == offsets[high] < ends[low]:
                return True
    return False


def alive_at(sizes, first, last, step):
    """The total size of what is alive in a step."""
    return sum(s for s, a, b in zip(sizes, first, last) if a <= step <= b)


def resnet(width=8, **settings):
    """A small residual network for digits of 8×8 pixels."""
    from tinyopt import models

    return models.resnet8(image_size=8, width=width, rng=0, **settings)


def planned(sizes, first, last, *, by_size=True, fit=min):
    """A plan as `place` makes it, or with one thing changed: the order, the choice of a gap, who is alive."""
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], first[i]) if by_size else (first[i], i))
    offsets, done = [0] * len(sizes), []
    for i in order:
        ends = [first[j] <= last[i] and first[i] <= last[j] for j in done]
        end, gaps = 0, []
        for offset, size in sorted((offsets[j], sizes[j]) for j, together in zip(done, ends) if together):
            if offset - end >= sizes[i]:
                gaps.append((offset - end, end))
            end = max(end, offset + size)
        offsets[i] = fit(gaps)[1] if gaps and fit else end
        done.append(i)
    return offsets
