"""One output of one layer, computed aloud in Python's own integers. Start with `step_through`."""

from tinyopt import backend
from tinyopt.compress.integer.reference import round_shift
from tinyopt.measure import capture, inference
from tinyopt.nn import integer
from tinyopt.nn.integer_math import framed
from tinyopt.tensor import Tensor


def step_through(net, image, layer, index):
    """Print how one output of a layer comes about: its accumulator, multiplier, shift and clamp.

    For a layer with weights, the accumulator is summed up from its products, and then requantized as the `Requantize`
    does that follows; so is a sum. For a `Requantize`, what it reads is rescaled.

    Shapes: image, one image of the network's input (C, H, W) or (1, C, H, W); layer, its name in the network; index,
            the output's place without the batch, such as (channel, row, column), or (unit,).
    Returns the last integer printed: an int8, or the accumulator if that is not requantized.
    Raises: KeyError for an unknown layer; IndexError for a place outside; TypeError for a layer that has no
            accumulators.
    """
    image = backend.to_host(Tensor(image).data)
    image = image if image.shape[:1] == (1,) and image.ndim > 3 else image[None]
    with inference(net), capture(net) as seen:
        net(image)
    module, index = net.get(layer), tuple(index) if isinstance(index, (tuple, list)) else (index,)
    inputs = [backend.to_host(x.data)[0] for x in seen[layer].inputs]
    shape = seen[layer].output.shape[1:]
    if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape)):
        raise IndexError(f"{layer} makes {shape} of one image; there is no place {index} in it")
    lines = [f"{layer} ({type(module).__name__}), output {index}"]
    if isinstance(module, integer.Requantize):
        number = _rescale(lines, module, int(inputs[0][index]), index[0])
    elif isinstance(module, (integer.IntegerLinear, integer.IntegerConv2d, integer.IntegerAdd)):
        if isinstance(module, integer.IntegerAdd):
            number = _add(lines, module, [int(x[index]) for x in inputs])
        else:
            number = _accumulate(lines, module, inputs[0], index)
        after, pooled = _what_follows(net, layer)
        if pooled:
            lines.append(f"  if it is the largest of its window in {pooled}:")
        if isinstance(net.layers.get(after), integer.Requantize):
            lines.append(f"  {after}:")
            number = _rescale(lines, net.layers[after], number, index[0])
    else:
        raise TypeError(f"{layer} is a {type(module).__name__}, which has no accumulators. Name a layer with weights, "
                        "a Requantize or an IntegerAdd")  # fmt: skip
    print("\n".join(lines))
    return number


def _accumulate(lines, module, x, index):
    """The products of one output, summed up."""
    weight = backend.to_host(module.weight)[index[0]]
    if isinstance(module, integer.IntegerConv2d):
        x = _window(module, x, index)
    pairs = list(zip(weight.ravel().tolist(), x.ravel().tolist()))
    products, bias = sum(w * number for w, number in pairs), int(backend.to_host(module.bias)[index[0]])
    shown = " + ".join(f"{_signed(w)}·{_signed(number)}" for w, number in pairs[:3])
    zero_point = int(module.zero_point)
    share = -zero_point * sum(w for w, _ in pairs)
    lines.append(f"  products     {shown}{' + …' if len(pairs) > 3 else ''} = {products}   ({len(pairs)} of them)")
    lines.append(f"  bias         {bias}   (with −{_signed(zero_point)} · Σ w = {share} in it)")
    lines.append(f"  accumulator  {products} + {_signed(bias)} = {products + bias}")
    return products + bias


def _window(module, x, index):
    """The integers that one output of a convolution reads, the zero point on the padding."""
    o, *place = index
    c_group = module.in_channels // module.groups
    first = o // (module.out_channels // module.groups) * c_group
    padded = backend.to_host(framed(x[None], module.padding, int(module.zero_point), x.dtype))[0]
    rows, columns = (slice(i * s, i * s + k) for i, s, k in zip(place, module.stride, module.kernel_size))
    return padded[first : first + c_group, rows, columns]


def _add(lines, module, numbers):
    """Two sides of a sum, each brought to the steps of the accumulator."""
    multipliers, zero_points = (backend.to_host(a).tolist() for a in (module.multiplier, module.zero_points))
    parts = []
    for number, multiplier, zero_point in zip(numbers, multipliers, zero_points):
        parts.append(multiplier * (number - zero_point))
        lines.append(f"  a side       {multiplier} · ({_minus(number, zero_point)}) = {parts[-1]}")
    lines.append(f"  accumulator  {parts[0]} + {_signed(parts[1])} = {sum(parts)}")
    return sum(parts)


def _rescale(lines, module, number, channel):
    """An accumulator to an int8, each step a line."""
    multiplier, shift = (backend.to_host(a) for a in (module.multiplier, module.shift))
    channel = channel if len(shift) > 1 else 0
    multiplier, shift, zero_point = int(multiplier[channel]), int(shift[channel]), int(module.zero_point)
    product = number * multiplier
    rounded = round_shift(product, shift)
    low = zero_point if module.relu else -128
    q = min(max(rounded + zero_point, low), 127)
    lines.append(f"  multiplier   {number} · {multiplier} = {product}")
    lines.append(f"  shift        {product} / 2^{shift} = {product / 2**shift:.4f}, rounded half away from zero: {rounded}")
    lines.append(f"  zero point   {rounded} + {_signed(zero_point)} = {rounded + zero_point}")
    lines.append(f"  clamp        to {low} … 127{' (the ReLU)' if module.relu else ''}: {q}")
    return q


def _signed(number):
    """A number as it stands after a sign or a dot: in brackets if it is negative."""
    return f"({number})" if number < 0 else str(number)


def _minus(number, other):
    return f"{number} − {_signed(other)}" if other else str(number)


def _what_follows(net, name):
    """The layer that reads this one's accumulators, and the names of poolings in between."""
    pools = []
    while True:
        name = next((reader for reader, sources in net.wires if name in sources), None)
        if not isinstance(net.layers.get(name), integer.IntegerMaxPool2d):
            return name, ", ".join(pools)
        pools.append(name)
