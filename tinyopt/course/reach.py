"""Put the package's own function out of reach, and put the student's in its place.

A function in Python is an object that carries its code. The curtain exchanges this code for one that
raises. So every way to the function ends at the same wall: `ops.relu`, `Tensor.relu`, `OPS["relu"]`,
`ops.relu.rule`, and a name that was bound to any of them long before.
"""

import contextlib
import functools
import sys

from tinyopt.ops.rule import substitute


class OutOfReach(RuntimeError):
    """The function to be written was called instead; the message is its name."""


def _wall(*args, **settings):
    import sys  # this code runs with the names of another file

    from tinyopt.course.reach import OutOfReach

    raise OutOfReach(sys._getframe().f_code.co_name)


class Curtain:
    """Hide functions: their own code is kept here, and given back.

    Raises: TypeError for what has no code of its own, or reads names of a function around it.
    """

    def __init__(self, functions):
        self.own = {}
        for function in functions:
            code = getattr(function, "__code__", None)
            if code is None or code.co_freevars:
                raise TypeError(
                    f"only a plain function of a module or a class can be hidden; got {function!r}"
                )
            self.own[function] = code

    @contextlib.contextmanager
    def closed(self):
        """Inside the `with`, each of the functions raises OutOfReach."""
        for function in self.own:
            function.__code__ = _wall.__code__.replace(co_name=function.__qualname__)
        try:
            yield
        finally:
            for function, code in self.own.items():
                function.__code__ = code

    @contextlib.contextmanager
    def lifted(self):
        """Inside the `with`, they work again; afterwards all is as it was before."""
        before = {function: function.__code__ for function in self.own}
        for function, code in self.own.items():
            function.__code__ = code
        try:
            yield
        finally:
            for function, code in before.items():
                function.__code__ = code


@contextlib.contextmanager
def installed(target, function):
    """Run all inside the `with` on `function` in place of `target`, an op or function of the package."""
    if hasattr(target, "rule"):
        with substitute(target.__name__, function):
            yield
        return
    places = _places(target)
    for owner, name in places:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name in places:
            setattr(owner, name, target)


def _places(target):
    """Where the package has bound a function: pairs (module, name), or (class, name) for a method."""
    *outer, name = target.__qualname__.split(".")
    if outer:
        return [(functools.reduce(getattr, outer, sys.modules[target.__module__]), name)]
    return [
        (module, name)
        for path, module in list(sys.modules.items())
        if path.split(".")[0] == "tinyopt"
        for name, value in list(vars(module).items())
        if value is target
    ]
