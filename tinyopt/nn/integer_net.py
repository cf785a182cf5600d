"""What stands around the layers of an integer-only network: its two ends, its poolings, and its wires.

Start with `QuantizeInput`, then `IntegerNet`. The layers with multiplications are in `integer.py`.
"""

import numpy as np

from tinyopt.errors import DtypeError
from tinyopt.nn.integer_math import check_type, framed
from tinyopt.nn.layers import Pool2d
from tinyopt.nn.module import Module
from tinyopt.ops.conv import conv_output_size
from tinyopt.tensor import OPS, Tensor


class QuantizeInput(Module):
    """Turn float images into int8, the last floats that an integer network sees.

        q = clip(round(x / scale) + zero_point, −128, 127)        ties to the even integer, as `codec.affine`

    Shapes: x (...), float32 or float64 -> q (...), int8; scale (), float32; zero_point (), int32.
    Raises: DtypeError for integers.
    """

    buffers = ("scale", "zero_point")

    def __init__(self):
        self.scale, self.zero_point = np.ones((), np.float32), np.zeros((), np.int32)

    def forward(self, x):
        if x.dtype.kind != "f":
            raise DtypeError(f"QuantizeInput takes floats, as the model did; got {x.dtype}. Use x.astype('float32')")
        steps = x.data / self.scale.astype(x.dtype)
        np.rint(steps, out=steps)
        steps += self.zero_point.astype(x.dtype)
        np.minimum(np.maximum(steps, -128.0, out=steps), 127.0, out=steps)
        return Tensor._from_op(steps.astype(np.int8))


class Dequantize(Module):
    """What integers stand for, in floats: y = scale · (q − zero_point).

    Shapes: q (...), int32 or int8 -> y (...), float32; scale (), float32; zero_point (), int32.
    """

    buffers = ("scale", "zero_point")

    def __init__(self):
        self.scale, self.zero_point = np.ones((), np.float32), np.zeros((), np.int32)

    def forward(self, x):
        check_type(self, x, np.int8, np.int32)
        return Tensor._from_op((x.data.astype(np.int32) - self.zero_point).astype(self.scale.dtype) * self.scale)


class IntegerMaxPool2d(Pool2d):
    """The largest number of each window, of int8 or of int32 accumulators; padding never wins.

    A larger accumulator never becomes a smaller int8. So `Requantize` may stand after the pooling, where it has a
    fraction of the numbers to work on, and the result is the same.

    Shapes: x (N, C, H, W), int8 or int32 -> y (N, C, P, Q), of x's type.
    """

    def forward(self, x):
        check_type(self, x, np.int8, np.int32)
        x = framed(x.data, self.padding, int(np.iinfo(x.dtype).min), x.dtype)
        return OPS["max_pool2d"](Tensor._from_op(x), kernel_size=self.kernel_size, stride=self.stride)


class IntegerAvgPool2d(Pool2d):
    """The sum of each window, in int32; the division is left to the `Requantize` that follows.

        acc[n, c, p, q] = Σ over i, j of x[n, c, p·s + i, q·s + j]  −  kh · kw · zero_point

    Padding is the zero point, as it is 0 for floats.

    Shapes: x (N, C, H, W), int8 -> acc (N, C, P, Q), int32; zero_point (), int32, of x.
    """

    buffers = ("zero_point",)

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__(kernel_size, stride, padding)
        self.zero_point = np.zeros((), np.int32)

    def forward(self, x):
        check_type(self, x, np.int8)
        (kh, kw), (sh, sw) = self.kernel_size, self.stride
        x = framed(x.data, self.padding, self.zero_point, np.int8)
        p, q = conv_output_size(x.shape[2], kh, sh), conv_output_size(x.shape[3], kw, sw)
        acc = np.zeros_like(x[:, :, :p, :q], dtype=np.int32)  # in x's order of memory
        for i, j in np.ndindex(kh, kw):
            acc += x[:, :, i : i + sh * (p - 1) + 1 : sh, j : j + sw * (q - 1) + 1 : sw]
        return Tensor._from_op(acc - kh * kw * self.zero_point)


class IntegerNet(Module):
    """Layers, and which of them reads what: any network without loops, in the order in which it is computed.

    `wires` is a list of [layer, [what it reads, ...]], where "" is the network's input; the last one's output is the
    network's. A model of the user's own class becomes one as well, so a file of it needs no code.

    Raises: ValueError for wires that do not fit the layers, or that read what is not computed yet.
    """

    def __init__(self, wires, **layers):
        self.wires, self.layers = [[name, list(sources)] for name, sources in wires], layers
        known = [""]
        for name, sources in self.wires:
            if name not in layers or not set(sources) <= set(known):
                raise ValueError(f"wires are [layer, [what it reads, ...]] in order; got {name!r} reading {sources}")
            known.append(name)
        last = {source: i for i, (_, sources) in enumerate(self.wires) for source in sources}
        self._done = [[value for value, when in last.items() if when == i] for i in range(len(self.wires))]

    def forward(self, x):
        return self._run(x, self.wires)

    def integers(self, x):
        """What the network computes before the last step, which makes floats of it: int32 logits, for a classifier."""
        return self._run(x if isinstance(x, Tensor) else Tensor(x), self.wires[:-1])

    def _run(self, x, wires):
        values = {"": x}
        for (name, sources), done in zip(wires, self._done):
            values[name] = y = self.layers[name](*[values[source] for source in sources])
            for value in done:  # nobody reads it any more: its memory is free for the next layers
                del values[value]
        return y

    def named_children(self):
        return iter(self.layers.items())  # names are those of the float model's layers, dots and all

    def set_child(self, attribute, module):
        self.layers[attribute] = module

    def config(self):
        return {"wires": self.wires}
