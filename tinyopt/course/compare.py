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


def _numbers(value, what):
    """`value` as an array of floats, or a sentence that says what it is instead."""
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        parts = value if isinstance(value, (list, tuple)) else getattr(value, "flat", ())
        if any(part is Ellipsis for part in parts):
            raise NotWritten from None
        raise Wrong(f"{_capital(what)} should be numbers; yours is of type {type(value).__name__}.") from None


def _shape_mistake(came, due):
    if came.size == due.size:
        return "It has the right number of entries: a reshape, or keepdims, is missing."
    return "It has too many entries: a sum is missing." if came.size > due.size else "It has too few entries."
