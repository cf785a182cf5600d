"""What the tests of lesson 13 and its notebook share: references, slow oracles, judges, altered networks.

Glossary: z, a zero point; acc, an accumulator; m, shift, a factor as m / 2^shift; p = acc · m.
"""

import copy
from fractions import Fraction

import numpy as np

from tinyopt import Tensor, nn
from tinyopt.compress.integer import reference
from tinyopt.course import Wrong, recognise
from tinyopt.course.compare import NotWritten
from tinyopt.nn import integer


def short_factor(factor, bits):
    """A factor as an integer of so many bits and a shift; like `fixed_point`, for the few bits that fit on paper."""
    mantissa, exponent = np.frexp(factor)
    return np.rint(mantissa * 2**bits).astype(np.int64), bits - exponent.astype(np.int64)


def predict():
    """What the package's slow reference computes for the neuron of 13.1."""
    x, z, w, bias = np.array([[12, -8]]), -16, np.array([[7, -3]]), round(0.6 / (0.1 * 0.05))
    stored = bias - z * int(w.sum())
    acc = int(reference.linear(x, w, [stored], z)[0, 0])
    m, shift = map(int, short_factor(np.float64(0.1), 4))  # 13 and 7
    rest = (reference.requantize(*case, shift, 10) for case in ((acc, m), (-320, 1), (1500, m)))
    return bias, stored, acc, *rest


def witness():
    """w, x and n whose float32 sum is wrong; and large w, x of which it is right."""
    return 127, 127, 2001, 96, 96


def sums(w, x, n):
    """Σ of n equal products: exactly, and added one after the other in float32."""
    return n * w * x, int(np.cumsum(np.full(n, w * x, np.float32), dtype=np.float32)[-1])


# --- slow oracles --------------------------------------------------------------------------------------


def nearest(p, shift):
    """p / 2^shift to the nearest integer, half away from zero, by exact fractions."""
    return int(abs(Fraction(p, 2**shift)) + Fraction(1, 2)) * (1 if p >= 0 else -1)


def slow_requantize(acc, multiplier, shift, zero_point, relu=False):
    """The nearest integer, the zero point, the ends."""
    return min(max(nearest(acc * multiplier, shift) + zero_point, zero_point if relu else -128), 127)


def slow_layer(weight, bias, in_scale, z, scale):
    """Weight by weight: w, the bias on the accumulator's line, and the share of the zero point."""
    w, own, share = np.zeros(weight.shape), np.zeros(len(weight)), np.zeros(len(weight))
    for o in range(len(weight)):
        own[o] = 0 if bias is None else round(float(bias[o]) / (in_scale * float(scale[o])))
        for place, number in np.ndenumerate(weight[o]):
            w[(o, *place)] = round(float(number) / float(scale[o]))
            share[o] -= z * w[(o, *place)]
    return w, own, share


def small_net():
    """conv · norm · ReLU · flatten · dense for 4×4, and images with numbers below 0, so that zero points are odd."""
    layers = {"conv": nn.Conv2d(1, 4, 3, padding=1, rng=0), "norm": nn.BatchNorm2d(4)}
    net = nn.Sequential(**layers, relu=nn.ReLU(), flatten=nn.Flatten(), fc=nn.Linear(64, 3, rng=1))
    net.get("norm").bias.data = np.linspace(-0.5, 0.5, 4).astype(np.float32)
    return net.eval(), np.random.default_rng(0).uniform(-0.4, 1, (8, 1, 4, 4)).astype(np.float32)


# --- the form of an answer, and classic mistakes ---------------------------------------------------------


def parts(answer, count, form):
    """The answer as so many things, or a sentence that says what is due."""
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != count:
        raise Wrong(f"{count} things are due: {form}", {"yours": repr(answer)[:60]})
    if any(part is Ellipsis for part in answer):
        raise NotWritten
    return answer


def whole(value, what):
    """One integer out of an answer; 3.0 and NumPy's integers are fine."""
    number = _array(value, what)
    if number.size != 1:
        raise Wrong(f"{what} is one number.", {"yours": repr(value)[:60]})
    if number.item() != np.rint(number.item()):
        raise Wrong(f"{what} is an integer: there are no floats on this machine.", {"yours": number.item()})
    return int(number.item())


def judge_number(value, due, what, mistakes):
    """Compare one integer; `mistakes` is {number: sentence}."""
    number = whole(value, what)
    recognise(number, {says: known for known, says in mistakes.items()}, {"yours": number}, due=due)
    if number != due:
        raise Wrong(f"{what} is another number.", {"yours": number})


def judge_q(came, acc, multiplier, shift, z, relu):
    """Compare one requantized integer with exact fractions; name the classic mistakes."""
    p, facts = acc * multiplier, {"acc": acc, "multiplier": multiplier, "shift": shift, "zero point": z, "relu": relu}
    due, low = slow_requantize(acc, multiplier, shift, z, relu), z if relu else -128
    if np.ndim(came) or isinstance(came, (list, tuple)):
        raise Wrong("One integer is due for one accumulator.", {"yours": repr(came)[:60]})
    if isinstance(came, (float, np.floating)):
        raise Wrong("It returns a float. Here are none: // and >> give integers.", facts | {"yours": came})
    q, facts = whole(came, "q"), facts | {"yours": came, "due": due}
    if q == due:
        return
    sign, r = 1 if p >= 0 else -1, nearest(p, shift)
    if p % 2**shift == 2 ** (shift - 1) and abs(q - z) == abs(p) >> shift and abs(q - due) == 1:
        says = "An exact half goes *away* from zero: 2.5 becomes 3, and −2.5 becomes −3."
        raise Wrong(f"{says} (round() takes the even number; a half added to −2.5 gives −2.)", facts)
    cut = {
        "It only shifts: that rounds *down*, always. Add half of 2^shift first.": p >> shift,
        "It cuts off towards zero. Add half of 2^shift to the magnitude first.": sign * (abs(p) >> shift),
        "A magnitude without its sign: negative accumulators come out positive.": abs(r),
        "A double has 53 bits, the product up to 62: use integers alone.": round(p / 2**shift),
        "Half is taken off a negative product, and then >> (or //) rounds *down* once more. "
        "Round the magnitude, abs(p), and give the sign back.": (p - 2 ** (shift - 1)) >> shift if p < 0 else r,
        "Half is 2^(shift − 1). It adds half too much.": sign * ((abs(p) >> shift) + 1),
    }
    classic = {says: min(max(number + z, low), 127) for says, number in cut.items()}
    recognise(q, {
        "The zero point is missing.": min(max(r, low), 127),
        "It takes the zero point off. On the way *to* integers it is added.": min(max(r - z, low), 127),
        "It saturates before the zero point is added. Clamp last.": min(max(r, low), 127) + z,
        "With a ReLU, the lower end is the zero point, which stands for 0.0.": min(max(r + z, -128), 127),
        "With a ReLU, the lower end is the zero point. The integer 0 is not 0.0.": min(max(r + z, 0), 127),
        "It clamps to the zero point, also without a ReLU.": min(max(r + z, z), 127),
        "It wraps around: only the lowest 8 bits are kept. Clamp to −128 … 127.": _int8(r + z),
        "It does not saturate: an int8 ends at −128 and 127.": r + z,
        "The lower end of an int8 is −128.": min(max(r + z, -127), 127),
        **classic,
    }, facts)  # fmt: skip
    raise Wrong("Another integer is due.", facts | {"acc · multiplier / 2^shift": f"{p / 2**shift:.4f}"})


def judge_layer(answer, weight, bias, in_scale, z, scale):
    """Compare w and the stored bias with the slow loop; name the classic mistakes."""
    answer = parts(answer, 3, "return w, bias, scale")
    w_due, own, share = slow_layer(weight, bias, in_scale, z, scale)
    w, stored, step = (_array(part, name) for part, name in zip(answer, ("w", "The bias", "scale")))
    facts, shown = {"in_scale": in_scale, "zero point": z}, {"due": w_due.ravel()[:4].tolist()}
    if w.shape != weight.shape:
        raise Wrong("w has another shape than the weight.", {"yours": w.shape, "due": weight.shape})
    shown |= {"yours": w.ravel()[:4].tolist()}
    if step.shape != np.shape(scale) or not np.allclose(step, scale):
        raise Wrong("The line that computes the scales was given: leave it as it is.")
    by_row = scale.reshape(-1, *[1] * (weight.ndim - 1))
    recognise(w, {
        "These are the floats: round(W / scale) is missing.": weight,
        "Not rounded: w holds integers.": weight / by_row,
        "It cuts off towards zero. Round to the nearest.": np.trunc(weight / by_row),
    }, shown, due=w_due)
    if not np.array_equal(w, w_due):
        raise Wrong("w is wrong.", shown)
    if stored.shape != own.shape:
        raise Wrong("One bias for each output is due, shape (O,).", {"yours": f"shape {stored.shape}"})
    floats, due = weight.reshape(len(weight), -1).sum(axis=1), own + share
    b = np.zeros(len(weight)) if bias is None else np.asarray(bias, float)
    if np.array_equal(stored, due):
        return
    facts |= {"yours": stored.tolist(), "due": due.tolist()}
    recognise(stored, {
        "The zero point's share is missing: −zero point · Σ w.": own,
        "Only the share of the zero point is there. The bias itself is missing.": share,
        "The zero point's share has the wrong sign: Σ w · (q − z) has −z · Σ w in it.": own - share,
        "Σ w is a sum of one output's weights: all but the first axis.": own - z * w_due.sum(),
        "The bias is in steps of the weight's scale. Due is in_scale · scale.": np.rint(b / scale) + share,
        "The bias is in steps of the input's scale. Due is in_scale · scale.": np.rint(b / in_scale) + share,
        "The bias is still a float's value: divide it by in_scale · scale.": b + share,
        "It sums the floats W, and not the integers w.": np.rint((b - z * in_scale * floats) / (in_scale * scale)),
        "The zero point is not multiplied by Σ w.": own - z,
        "It was made an int8. A bias needs 32 bits.": np.clip(due, -128, 127),
        "A bias of 8 bits wraps around. It needs 32.": _int8(due),
    }, facts, rtol=1e-12)  # fmt: skip
    if abs(stored - due).max() <= 1:
        raise Wrong("Off by one. Round b / (in_scale · scale) to the nearest, then take z · Σ w off.", facts)
    for wrapped in (_int8(-share / z) * -z, _int8(-z * _int8(-share / z)), _int8(share)) if z else ():
        recognise(stored, {"A sum or product of int8 wrapped around. Compute it in int64.": own + wrapped}, facts)
    raise Wrong("The stored bias is wrong.", facts)


def _int8(x):
    """What 8 bits keep of integers."""
    return (x + 128) % 256 - 128


def _array(value, name):
    """Finite numbers out of an answer."""
    if value is Ellipsis:
        raise NotWritten
    if np.asarray(value).dtype.kind not in "biuf":
        raise Wrong(f"{name} should be numbers.", {"yours": repr(value)[:60]})
    array = np.array(value, dtype=float)
    if not np.isfinite(array).all():
        raise Wrong(f"{name} holds NaN or infinity.")
    return array


def judge_factor(answer, factor, bits=31):
    """multiplier · 2^(−shift) is the factor, with all its bits used; names the classic mistakes."""
    answer, factor = parts(answer, 2, "return multiplier, shift"), np.array(factor, float)
    m, shift = (_array(part, name) for part, name in zip(answer, ("multiplier", "shift")))
    facts = {"factor": factor.tolist(), "multiplier": m.tolist(), "shift": shift.tolist()}
    if m.shape != factor.shape or shift.shape != factor.shape:
        raise Wrong("One multiplier and one shift for each factor.", facts)
    if any((part != np.rint(part)).any() for part in (m, shift)):
        raise Wrong("The multiplier and the shift are integers: round.", facts)
    if (shift > 62).any():
        raise Wrong("A shift above 62: for tiny factors the shift stops there, or an int64 is too short.", facts)
    if bits != 31 and ((m >= 2**bits).any() or (shift == 31 - np.frexp(factor)[1]).all()):
        says = "It works with 31 bits, whatever `bits` is. The 31 of the text is only the default: write bits instead."
        raise Wrong(says, {"bits": bits} | facts)
    if (shift < 0).any() or np.allclose(m * 2.0**shift, factor, rtol=1e-6, atol=0):
        raise Wrong("The sign of the shift is turned: factor = multiplier · 2^(−shift), a shift to the right.", facts)
    made = np.ldexp(m, -shift.astype(int))
    if any(np.allclose(made, k * factor, rtol=1e-6, atol=0) for k in (2, 0.5)):
        raise Wrong("Off by a factor of 2: the mantissa that frexp gives lies in [1/2, 1).", facts)
    room = np.frexp(factor)[1] > bits - 62  # smaller factors keep fewer bits
    if np.allclose(made, factor, rtol=1e-3, atol=0) and (m[room] < 2 ** (bits - 1)).any():
        raise Wrong(f"The multiplier wastes bits: it should use all {bits}, from 2^{bits - 1} up to 2^{bits}.", facts)
    if (m >= 2**bits).any():
        raise Wrong(f"The multiplier does not fit {bits} bits: it must be below 2^{bits}.", facts)
    error = abs(made - factor) / factor
    if (m == np.floor(np.ldexp(factor, shift.astype(int)))).all() and (error > 2.0**-bits).any():
        raise Wrong("It cuts off. Round the multiplier to the nearest integer.", facts)
    far = abs(np.ldexp(factor, shift.astype(int)) - m) > 1
    if (far | ((error > 2.0**-bits) & room)).any():
        raise Wrong("multiplier · 2^(−shift) is not the factor, as near as it could be.", facts | {"makes": made.tolist()})


def judge_sums(first, second):
    """(exact, float32) of the sum that should be wrong, and of the friend's, which should be right."""
    for name, (due, came) in (("This sum", first), ("The friend's sum, n · w2 · x2,", second)):
        facts = {"exact": due, "float32": came}
        if abs(due) <= 2**24 and came == due:
            raise Wrong(f"{name} does not pass 2²⁴: there float32 holds every integer.", facts)
        if name == "This sum" and came == due:
            raise Wrong("The sum passes 2²⁴, but is a multiple of 2: float32 gets it right. Try odd products.", facts)
        if name != "This sum" and came != due:
            raise Wrong(f"{name} is wrong, too: the friend would have seen it.", facts)


# --- altered networks, for the wrong ways -------------------------------------------------------------------


class ByRule(integer.Requantize):
    """A Requantize that follows another rule: rule(acc, m, shift, z, low) -> int8, all in int64."""

    def forward(self, x):
        by_channel = (-1, *[1] * (x.ndim - 2))
        m, shift = (a.astype(np.int64).reshape(by_channel) for a in (self.multiplier, self.shift))
        z = int(self.zero_point)
        return Tensor(self.rule(x.data.astype(np.int64), m, shift, z, z if self.relu else -128))


def with_rule(net, rule):
    """A copy of an integer network that requantizes by a rule."""
    net = copy.deepcopy(net)
    for name, layer in net.layers.items():
        if isinstance(layer, integer.Requantize):
            new = ByRule(layer.channels, layer.relu)
            new.rule, new.multiplier, new.shift, new.zero_point = rule, layer.multiplier, layer.shift, layer.zero_point
            net.set_child(name, new)
    return net


def products(net):
    """{name: layer} of the layers with weights."""
    return {k: v for k, v in net.layers.items() if isinstance(v, (integer.IntegerLinear, integer.IntegerConv2d))}


def share_of_zero_point(layer):
    """−z · Σ w for each output."""
    return -int(layer.zero_point) * layer.weight.astype(np.int64).reshape(len(layer.weight), -1).sum(axis=1)


def with_bias(net, rule, share=1):
    """A copy whose biases (own, without the zero point's share, in steps of the accumulators) went through a rule."""
    net = copy.deepcopy(net)
    for layer in products(net).values():
        part = share_of_zero_point(layer)
        own = np.rint(rule((layer.bias - part).astype(np.float64))).astype(np.int64)
        layer.bias = (own + share * part).astype(np.int32)
    return net


def padded_with_zero(net):
    """A copy whose convolutions pad with the integer 0."""
    net = copy.deepcopy(net)
    for layer in products(net).values():
        layer.zero_point = np.zeros((), np.int32)  # read for the padding alone; its share is in the bias
    return net


def draw_neuron():
    """The way of the numbers of the paper example: above what they stand for, below the integers."""
    import matplotlib.pyplot as plt

    steps = (("x = (3.0, 5.0)", "int8", "(10, 30)"), ("w = (0.4, −0.2)", "int8", "(20, −10)"),
             ("Σ w·x + b = 0.716", "int32", "358"), ("times 0.05", "int64", "358 · 13 = 4654"),
             ("divided", "shift by 8", "18.18 → 18"), ("y = 0.72", "int8", "18 − 128 = −110"))  # fmt: skip
    _, ax = plt.subplots(figsize=(10, 1.9), layout="constrained")
    widths = [0.1 * len(number) + 0.5 for *_, number in steps]
    left = np.cumsum([0, *widths]) + 0.7 * np.arange(7)
    for i, (means, kind, number) in enumerate(steps):
        colour, centre = "#f6e3c6" if kind[3:] in ("32", "64", "ft by 8") else "#dbe7f3", left[i] + widths[i] / 2
        box = {"boxstyle": "round,pad=0.4", "fc": colour, "ec": "0.6"}
        ax.text(centre, 0, number, ha="center", va="center", fontsize=10, bbox=box)
        ax.text(centre, 0.72, means, ha="center", va="center", fontsize=9, color="0.35")
        ax.text(centre, -0.72, kind, ha="center", va="center", fontsize=9, color="C0")
        if i:
            ax.text(left[i] - 0.35, 0, "and" if i == 1 else "→", ha="center", va="center", fontsize=10, color="0.4")
    for height, text, colour in ((0.72, "stands for", "0.35"), (-0.72, "stored as", "C0")):
        ax.text(-0.3, height, text, ha="right", va="center", fontsize=9, color=colour)
    ax.set(xlim=(-1.2, left[-1] - 0.5), ylim=(-1, 1))
    ax.axis("off")
