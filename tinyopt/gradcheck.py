"""`gradcheck`: is a rule right? Ask `central_differences`, a slow oracle that cannot share its mistakes."""

import numpy as np

from tinyopt import backend
from tinyopt.autograd import backpropagate, no_grad
from tinyopt.errors import DtypeError
from tinyopt.tensor import Tensor


def central_differences(f, x, h=1e-5):
    """Find the slope of f in each entry of x, from values of f alone: two calls for each entry.

        ∂f/∂x[i] ≈ (f(x + h·e[i]) − f(x − h·e[i])) / 2h        e[i] is 1 at entry i and 0 elsewhere

    The curve's bending makes an error of order h²; rounding makes one of order 10⁻¹⁶ · |f| / h. Near h = 10⁻⁵
    both are small. x itself is not changed.

    Shapes: f takes an array like x and returns one number; x, any shape -> slopes, same shape, float64.
    Source: Press, Teukolsky, Vetterling & Flannery (2007), "Numerical Recipes", 3rd ed., Section 5.7.
    """
    x = x.astype(np.float64)  # in float32, or in whole numbers, a small step would be rounded away
    slopes = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[index] += h
        down[index] -= h
        slopes[index] = (f(up) - f(down)) / (2 * h)
    return slopes


def gradcheck(f, *inputs, rng=0, eps=1e-4, rtol=1e-6, atol=1e-9):
    """Compare the gradient that the engine finds for `f` with central differences, entry by entry.

        L(x) = Σ r · f(x)                               r = random, standard normal, as f(x)
        D(h) = (L(x + h) − L(x − h)) / 2h               h = eps · max(1, |x|), one entry of x at a time
        ∂L/∂x ≈ (4 D(h/2) − D(h)) / 3                   the h² terms cancel, the error is of order h⁴
        demanded: |rule − differences| ≤ rtol · max(|rule|, |differences|) + atol

    With r = 1 many a wrong rule passes: softmax's gradient is then 0, and a transposed one looks like
    a straight one. Rounding disturbs the differences by about 10⁻¹⁶ · |L| / h = 10⁻¹² · |L|: hence float64,
    since float32's 10⁻⁷ would drown all, and hence `atol`, the noise that is allowed; raise it where f
    is a million times larger than its gradient. Keep inputs farther than h from kinks (relu at 0, a tie
    in max): a derivative has to exist.

    Shapes: f takes as many tensors as there are inputs, and returns one tensor, of any shape. Floats are
            checked; integers, Booleans and None are handed on as they are.
    Units:  a number is checked in 4 calls of f; rtol is the relative error allowed.
    Raises: AssertionError naming argument, index and both numbers where they differ most; DtypeError
            for float32; ValueError if there is nothing to check, f is not finite, or two calls differ.
    Source: Press, Teukolsky, Vetterling & Flannery (2007), "Numerical Recipes", 3rd ed., Section 5.7
            (step and rounding); Richardson (1911), Phil. Trans. R. Soc. A 210 (the extrapolation).
    """
    arrays = [_checkable(value, number) for number, value in enumerate(inputs)]
    numbers = [number for number, array in enumerate(arrays) if _is_float(array)]
    if not numbers:
        raise ValueError("gradcheck found no float argument, so there is no gradient to check")
    tensors = [Tensor(a, requires_grad=_is_float(a)) if a is not None else None for a in arrays]
    y = _output(f, tensors)
    r = np.array(backend.generator(rng).standard_normal(y.shape))
    if not np.array_equal(y.numpy(), _output(f, tensors).numpy()):
        raise ValueError("f gave two values for one input; draw its random numbers outside and pass them in")
    found = {id(t): g for t, g in backpropagate(y, r)}
    for number in numbers:
        rule = found.get(id(tensors[number]), np.zeros_like(arrays[number]))
        _compare(number, rule, _differences(f, arrays, number, r, y.numpy(), eps), rtol, atol)
    return True


def _checkable(value, number):
    """An input as an array, or None; floats must be float64 and finite."""
    if value is None:
        return None
    array = value.numpy() if isinstance(value, Tensor) else np.array(value)
    if array.dtype.kind == "f" and array.dtype != np.float64:
        raise DtypeError(
            f"gradcheck needs float64, since differences of {array.dtype} are mostly rounding; "
            f"convert argument {number} first: x.astype('float64')"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"gradcheck needs finite numbers; argument {number} holds NaN or infinity")
    return array


def _is_float(array):
    return array is not None and array.dtype.kind == "f"


def _output(f, tensors):
    """f's value, which must be a finite float64 tensor."""
    y = f(*tensors)
    if not isinstance(y, Tensor):
        raise TypeError(f"gradcheck needs an f that returns one Tensor; got {type(y).__name__}")
    if y.dtype != np.float64:
        raise DtypeError(f"gradcheck needs an f that stays in float64; it returned {y.dtype}")
    if not np.isfinite(y.numpy()).all():
        raise ValueError("gradcheck needs finite numbers; f returned NaN or infinity. Try other inputs")
    return y


def _differences(f, arrays, number, r, y, eps):
    """∂L/∂(argument `number`) from values of f alone, one entry after another."""
    x = arrays[number]
    scale = np.maximum(1.0, abs(x))  # large entries take larger steps: x + scale · u

    def loss(u):  # L(x + scale · u) − L(x): outputs that do not move cancel, and bring no rounding
        moved = [*arrays[:number], x + scale * u, *arrays[number + 1 :]]
        with no_grad():
            output = _output(f, [None if array is None else Tensor(array) for array in moved]).numpy()
        return (r * (output - y)).sum()

    coarse, fine = (central_differences(loss, np.zeros_like(x), h) / scale for h in (eps, eps / 2))
    return (4 * fine - coarse) / 3


def _compare(number, rule, differences, rtol, atol):
    """Raise AssertionError at the worst entry, unless the rule agrees everywhere."""
    error = abs(rule - differences)
    size = np.maximum(abs(rule), abs(differences))
    wrong = ~(error <= rtol * size + atol) | ~np.isfinite(rule)  # NaN and infinity are wrong
    if wrong.any():
        with np.errstate(invalid="ignore"):  # infinity / infinity
            relative = np.where(wrong, error / np.maximum(size, atol), 0)
        worst = np.unravel_index(np.argmax(np.where(np.isnan(relative), np.inf, relative)), wrong.shape)
        raise AssertionError(
            f"argument {number}, index {tuple(int(i) for i in worst)}: the rule says {rule[worst]:.10g}, "
            f"central differences say {differences[worst]:.10g} (relative error {relative[worst]:.1e}, "
            f"for a random incoming gradient); {int(wrong.sum())} of {wrong.size} entries differ"
        )
