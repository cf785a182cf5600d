"""What the tests of lesson 12 and its notebook share: the references of 12.1 and 12.5, and a few helpers."""

import numpy as np

from tinyopt import codec
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
