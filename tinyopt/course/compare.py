"""What came, what was due: where they differ most, and which classic mistake makes such a difference."""

import numpy as np


class NotWritten(Exception):
    """A `...` of the exercise is still there."""


class Wrong(AssertionError):
    """An answer lacks the property that a test asks for.

    `says` names the mistake, in words; `facts` are numbers that show it, {"yours": 3, "due": 6}.
    """

    def __init__(self, says, facts=None):
        super().__init__(says)
        self.says, self.facts = says, facts or {}

    def __str__(self):
        return "; ".join([self.says, *(f"{name}: {value}" for name, value in self.facts.items())])


def same(came, due, what, *, labels=None, slope=None, rtol=1e-6, atol=1e-9):
    """Demand that an answer is equal to what is due, up to rounding.

        |came − due| ≤ rtol · |due| + atol        everywhere

    `what` names the thing, for the message. `labels` names the entries, where an index says too little.
    `slope(index)` is asked for the central difference at the worst entry.

    Shapes: came and due alike, any shape.
    Raises: NotWritten for `...`; Wrong for anything else that is not due.
    """
    if came is Ellipsis:
        raise NotWritten
    due, came = np.array(due, dtype=float), _numbers(came, what)
    if came.shape != due.shape:
        says = f"{_capital(what)} has the wrong shape. {_shape_mistake(came, due)}"
        raise Wrong(says, {"yours": f"shape {came.shape}", "due": f"shape {due.shape}"})
    error = abs(came - due)
    bad = ~(error <= rtol * abs(due) + atol)  # written so that NaN is wrong
    if not bad.any():
        return
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), bad.shape)
    where = tuple(int(i) for i in worst)
    facts = {"worst at": labels[where[0]] if labels else f"index {where}"} if due.size > 1 else {}
    facts |= {"yours": f"{came[worst] + 0.0:.6g}", "due": f"{due[worst] + 0.0:.6g}"}  # + 0.0 makes 0 of −0
    if slope:
        facts["central differences"] = f"{slope(where):.6g}"
    raise Wrong(f"{_capital(what)} is wrong. {mistake(came, due, bad)}", facts)


def recognise(came, mistakes, facts=None, *, due=None, rtol=1e-6, atol=1e-9):
    """Raise Wrong with the sentence of the classic mistake whose numbers came; do nothing if none of them did.

        |came − numbers| ≤ rtol · |numbers| + atol        everywhere, for the first such sentence

    `mistakes` is {sentence: numbers}; `facts` are shown below the sentence. If `due` is given, and came, nothing
    is raised: a mistake may give the right numbers by chance. What is not numbers is no known mistake.

    Shapes: came and the numbers of a mistake alike, any shape; another shape is no match.
    Raises: Wrong.
    """
    if due is not None and alike(came, due, rtol=rtol, atol=atol):
        return
    for says, numbers in mistakes.items():
        if alike(came, numbers, rtol=rtol, atol=atol):
            raise Wrong(says, facts)


def alike(came, numbers, *, rtol=1e-6, atol=1e-9):
    """True if an answer is these numbers, up to rounding; False for all else, also for what is not numbers."""
    try:
        came = _floats(came)
    except (TypeError, ValueError):
        return False
    return came.shape == np.shape(numbers) and np.allclose(came, numbers, rtol=rtol, atol=atol)


def two_arrays(answer, first, second):
    """An answer taken apart, `return first, second`: two arrays of finite floats, or a sentence on its form.

    Raises: NotWritten for `...`; Wrong for another number of values, and for NaN or infinity.
    """
    if not isinstance(answer, (tuple, list, np.ndarray)) or len(answer) != 2:
        raise Wrong(f"Two arrays are due: return {first}, {second}", {"yours": type(answer).__name__})
    arrays = [_numbers(part, f"array {name}") for name, part in zip((first, second), answer)]
    for name, array in zip((first, second), arrays):
        if not np.isfinite(array).all():
            raise Wrong(f"{name} holds NaN or infinity. With such numbers every comparison fails.")
    return arrays


def mistake(came, due, bad):
    """Name the classic mistake that makes `came` out of `due`, or count what differs."""
    if np.isnan(came).any() and not np.isnan(due).any():
        return "There is a NaN in it: a 0/0, or an overflow."
    if np.allclose(came, -due):
        return "Its sign is turned." if due.size == 1 else "Every sign is turned."
    if due.size == 1:
        ratio = came.item() / due.item() if due else 0.0
        return (
            f"It is {ratio:.4g} times what is due."
            if ratio and (12 * ratio) % 1 == 0
            else "The number differs."
        )
    if not came.any():
        return "All of it is 0."
    ratio = float((came * due).sum() / (due * due).sum()) if due.any() else 0.0
    if ratio and np.allclose(came, ratio * due):
        return f"Everything is {ratio:.4g} times what is due: a factor is missing, or one too many."
    if due.ndim == 2 and due.shape == due.T.shape and np.allclose(came.T, due):
        return "It is transposed: rows and columns are exchanged."
    if np.allclose(np.sort(came, axis=None), np.sort(due, axis=None)):
        return "The numbers are right, but in the wrong places."
    return f"{int(bad.sum())} of {bad.size} numbers differ."


def _capital(what):
    return what[0].upper() + what[1:]


def _floats(value):
    """`value` as an array of floats; a TypeError or ValueError for what is not numbers, "4.5" among it."""
    if np.asarray(value).dtype.kind in "US":
        raise TypeError("text is not numbers")
    return np.array(value, dtype=float)


def _numbers(value, what):
    """`value` as an array of floats, or a sentence that says what it is instead."""
    try:
        return _floats(value)
    except (TypeError, ValueError):
        parts = value if isinstance(value, (list, tuple)) else getattr(value, "flat", ())
        if any(part is Ellipsis for part in parts):
            raise NotWritten from None
        raise Wrong(f"{_capital(what)} should be numbers; yours is of type {type(value).__name__}.") from None


def _shape_mistake(came, due):
    if came.size == due.size:
        return "It has the right number of entries: a reshape, or keepdims, is missing."
    return "It has too many entries: a sum is missing." if came.size > due.size else "It has too few entries."
