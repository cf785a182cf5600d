"""`@op`: how array mathematics becomes an op.

An op is a *rule*: a function that takes arrays by position and settings by keyword, and returns
its value and one pullback per array. A rule is plain NumPy and knows neither tensors nor the
graph; both are added here, once, for all ops. Every file beside this one holds rules.
"""

import contextlib
import functools
import inspect

import numpy as np

from tinyopt import autograd
from tinyopt.errors import DeviceError, DtypeError, ShapeError
from tinyopt.tensor import OPS, Tensor

LISTENERS = []  # functions (name, inputs, settings, output) told of each op applied: trace() joins here
SUBSTITUTED = []  # (op, rule) of each `with substitute(...)` that is open: other rules, other values


def differentiable(rule):
    """Turn a rule into a function on tensors, outside the table.

        y, (pull_0, pull_1, ...) = rule(array_0, array_1, ..., setting=...)

    A pullback takes g = ∂L/∂y and returns ∂L/∂array; it may return the broadcast shape, since the
    engine undoes broadcasting. It runs only if its array needs a gradient, and is None for an array
    that never has one (labels, masks). Python numbers reach the rule as they are.
    """

    @functools.wraps(rule)
    def function(*args, **settings):
        return _apply(function, args, settings)

    function.rule = rule
    code = rule.__code__
    function.variadic = bool(code.co_flags & 0x04) and code.co_argcount == 0  # def rule(*arrays, ...)
    return function


def op(rule):
    """`@op`: make the rule differentiable and enter it into `OPS` under its own name."""
    OPS[rule.__name__] = differentiable(rule)
    return OPS[rule.__name__]


@contextlib.contextmanager
def substitute(name, rule):
    """Run everything inside the `with` on another rule for the op `name`, also where it was imported.

    Raises: KeyError if there is no such op.
    """
    if name not in OPS:
        raise KeyError(f"no op is called {name!r}; there are: {', '.join(sorted(OPS))}")
    function = OPS[name]
    before, function.rule = function.rule, rule
    SUBSTITUTED.append((name, rule))
    try:
        yield function
    finally:
        SUBSTITUTED.pop()
        function.rule = before


def _apply(function, args, settings):
    """Run a rule on the arrays behind `args`; wrap its value, with a node if a gradient can be wanted."""
    if function.variadic and len(args) == 1 and isinstance(args[0], (list, tuple)):
        args = args[0]
    inputs, arrays, dtype, home = [], [], None, None
    for arg in args:
        if not isinstance(arg, Tensor):
            arg = _as_operand(arg)
        elif arg.views:
            arg = arg.read()
        inputs.append(arg)
        array = arg._data if isinstance(arg, Tensor) else arg
        arrays.append(array)
        if isinstance(arg, Tensor):
            home = _one_device(function, home, array)
            if array.dtype.kind == "f":
                dtype = _one_dtype(function, dtype, array.dtype)
    if home is None and any(a is not None for a in arrays):  # numbers only: no array to take the type from
        return _apply(function, [a if a is None else Tensor(a) for a in arrays], settings)
    value, pullbacks = _run(function, arrays, settings)
    value = _own_result(value, function, dtype, settings)
    output = Tensor._from_op(value)
    if autograd.is_grad_enabled():
        needed = [isinstance(t, Tensor) and t.requires_grad and p is not None for t, p in zip(inputs, pullbacks)]
        if any(needed):
            output.requires_grad = True
            pullbacks = tuple(p if need else None for p, need in zip(pullbacks, needed))
            output.node = autograd.Node(function.__name__, tuple(inputs), pullbacks)
    for listener in LISTENERS:
        listener(function.__name__, inputs, settings, output)
    return output


def _as_operand(value):
    """What a rule may be given besides tensors: a Python number or None as is, all else as a Tensor."""
    if value is None or type(value) in (int, float, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()  # so np.float64(0.5) cannot turn a float32 network into float64
    return Tensor(value)


def check_floats(name, x, weight):
    """Raise DtypeError, with the likely fix, unless x is of its weight's type: integer images are not."""
    if x.dtype != weight.dtype:
        raise DtypeError(
            f"{name} needs x of its weight's type, {weight.dtype}; got {x.dtype}. "
            f"Convert it first: x.astype('{weight.dtype}'), and images of 0 to 255: x.astype('{weight.dtype}') / 255"
        )


def _one_dtype(function, dtype, other):
    if dtype is None or dtype == other:
        return other
    raise DtypeError(
        f"{function.__name__} needs one type of floats; got {dtype} and {other}. "
        f"Convert one of them: x.astype('{other}')"
    )


def _one_device(function, home, array):
    if home is None or home is type(array):
        return type(array)
    raise DeviceError(
        f"{function.__name__} needs all arrays on one device; got {home.__module__} and {type(array).__module__} "
        "arrays. Move them first: x.to('cuda') or x.to('cpu')"
    )


def _run(function, arrays, settings):
    """What the rule returns: its value, and a pullback for each array."""
    for key, setting in settings.items():
        if isinstance(setting, np.generic):
            settings[key] = setting.item()  # np.float64(0.5) must not promote here either
    try:
        result = function.rule(*arrays, **settings)
    except (ValueError, IndexError, OverflowError) as problem:
        raise _explained(function, arrays, problem) from None
    except (TypeError, AttributeError) as problem:
        _check_call(function, arrays, settings)
        if all(hasattr(a, "dtype") and a.dtype.kind == "f" for a in arrays):
            raise  # no number or integer array to blame
        raise _explained(function, arrays, problem) from problem
    if type(result) is not tuple or len(result) != 2 or type(result[1]) is not tuple or len(result[1]) < len(arrays):
        raise TypeError(
            f"the rule of {function.__name__!r} must return (value, (pullback, ...)), a tuple with one pullback "
            f"for each of its {len(arrays)} arrays"
        )
    return result


def _check_call(function, arrays, settings):
    """Raise TypeError, with the op's signature, if it cannot be called in this way: ops.sum(x, 0)."""
    signature = inspect.signature(function.rule)
    try:
        signature.bind(*arrays, **settings)
    except TypeError as problem:
        raise TypeError(
            f"{function.__name__}{signature} takes arrays by position and settings by keyword: {problem}"
        ) from None


def _explained(function, arrays, problem):
    """A rule's complaint, with the op's name and what came, unless it is one of tinyopt's own sentences."""
    if type(problem).__module__.startswith("tinyopt"):
        return problem
    if isinstance(problem, (TypeError, AttributeError)):
        came = ", ".join(f"{a.dtype} {a.shape}" if hasattr(a, "shape") else repr(a) for a in arrays)
        hint = "Float arrays are due: x.astype('float32'), or Tensor(...) around a number"
        return DtypeError(f"{function.__name__} cannot be applied to {came}: {problem}. {hint}")
    shapes = ", ".join(str(a.shape) if hasattr(a, "shape") else repr(a) for a in arrays)
    kind = IndexError if type(problem) is IndexError else ShapeError
    return kind(f"{function.__name__} cannot be applied to arrays of shapes {shapes}: {problem}")


def _own_result(value, function, dtype, settings):
    """A rule's value as a frozen array of the type that went in; float32 if no floats did."""
    if isinstance(value, (np.generic, int, float)):
        value = np.array(value)
    elif not hasattr(value, "dtype"):
        got = type(value).__name__
        raise TypeError(f"the rule of {function.__name__!r} must return an array as its value; got {got}")
    if dtype is None and value.dtype == np.float64 and "dtype" not in settings:
        value = value.astype(np.float32)
    elif dtype is not None and value.dtype != dtype and value.dtype.kind == "f" and "dtype" not in settings:
        raise DtypeError(
            f"{function.__name__} was given {dtype} and made {value.dtype}: integers or float64 constants promote it. "
            f"Convert them first: x.astype('{dtype}')"
        )
    if type(value) is np.ndarray:
        value.setflags(write=False)
    return value
