"""What is common to ranking weights and ranking channels: find the criterion, copy the model, open the data.

Start with these three: `named`, `twin_of`, `loader_of`.
"""

import copy
import difflib
import inspect

from tinyopt import backend
from tinyopt.data import DataLoader
from tinyopt.nn import Mask


def named(criterion, table):
    """The function of this name in a table, or the function itself.

    Raises: ValueError that lists the names, and the nearest one.
    """
    if callable(criterion):
        return criterion
    if criterion not in table:
        near = difflib.get_close_matches(str(criterion), table, n=1)
        guess = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a criterion is one of {', '.join(table)}; got {criterion!r}{guess}")
    return table[criterion]


def needs_of(technique, offered):
    """The arguments for which a criterion wants something measured; those with a default may stay as they are.

    Raises: ValueError for one that nothing here measures.
    """
    arguments = inspect.signature(technique).parameters.values()
    strange = [a.name for a in arguments if a.name not in offered and a.default is a.empty]
    if strange:
        name = getattr(technique, "__name__", "this criterion")
        raise ValueError(f"{name} asks for {', '.join(strange)}; what is measured is {', '.join(offered)}")
    return [a.name for a in arguments if a.name in offered]


def twin_of(model):
    """A copy, in eval mode, whose parameters are what layers read; masks stay, so that masked weights stay 0."""
    twin = copy.deepcopy(model).eval()
    for parameter in twin.parameters():
        mask = parameter.view(Mask)
        parameter.bake()
        parameter.requires_grad, parameter.grad = True, None
        if mask is not None:
            parameter.attach(mask)
    return twin


def loader_of(criterion, model, part, batch_size, rng):
    """The data in batches, shuffled, on the model's device.

    Raises: ValueError if there are none.
    """
    if part is None:
        name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "this criterion")
        raise ValueError(
            f"{name!r} is measured on data: give images and labels, such as data.train, never the test part"
        )
    device = next(iter(model.parameters())).device
    seed = int(backend.generator(rng).integers(2**31))
    return DataLoader(part, batch_size, shuffle=True, seed=seed, device=device)
