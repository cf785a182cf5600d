"""How to run a model in order to look at it, and leave it as it was."""

import contextlib

from tinyopt.autograd import no_grad


@contextlib.contextmanager
def inference(model):
    """`with inference(model):` eval mode and no graph inside; after it, each module's own mode again.

    A mixed state, such as frozen batch norm in a model that trains, comes back as it was, also after
    an exception.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield model
    finally:
        for module, training in before:
            module.training = training
