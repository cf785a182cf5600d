"""The errors that tinyopt raises on purpose. Each message states the rule, what came, and the likely fix.

They are subclasses of Python's own, so `except ValueError` still catches a wrong shape.
"""


class ShapeError(ValueError):
    """Array shapes do not fit together."""


class DtypeError(TypeError):
    """Array types do not fit together: float32 with float64, integers where floats are due."""


class DeviceError(RuntimeError):
    """A device is missing, or arrays of two devices met."""


class FormatError(ValueError):
    """A file is not what it should be: truncated, damaged, foreign, or of a newer version."""


class TrainingDiverged(ArithmeticError):
    """The loss stopped being a finite number."""
