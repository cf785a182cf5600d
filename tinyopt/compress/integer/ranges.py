"""Which floats each value of a network takes, seen on calibration images. Start with `ranges`.

Observers are those of `compress/observers.py`. Here one watches a value between two ops, and not a layer's output: a
residual sum or a ReLU in a model's own forward is no layer, and needs a range as well.
"""

import contextlib

from tinyopt import backend
from tinyopt.compress.observers import MinMaxObserver, images_of
from tinyopt.measure import inference
from tinyopt.ops import rule as ops
from tinyopt.tensor import Tensor


def ranges(model, run, values, calibration, observer=MinMaxObserver, *, batch_size=256):
    """Run calibration images through the model, with an observer for each value: {value: (low, high)}.

    The ops of the model run in the order of its trace, so the k-th op makes the k-th step's value.

    Shapes: run, a `Trace` of single ops; values, some of its `Value`s; calibration, a part such as
            `data.train.sample(512, rng=0)`, or images (n, ...) alone.
    Raises: ValueError if there is no image, if NaN or infinity comes (with the first layer where it is seen), or if the
            model takes another way than in the trace.
    """
    images, watching = images_of(calibration), {value: observer() for value in values}
    home = next((parameter.device for parameter in model.parameters()), "cpu")
    with inference(model):
        for parameter in model.parameters():
            parameter.read()  # through its views, here: these ops are no steps of the trace
        for start in range(0, len(images), batch_size):
            x = Tensor(backend.to_device(images[start : start + batch_size], home))
            _show(watching, run.inputs[0], x, "the calibration images hold")
            with _listening(_Follower(watching, run)):
                model(x)
    return {value: watcher.range() for value, watcher in watching.items()}


class _Follower:
    """Told of each op that runs, it shows the output to the observer of the step that this op is."""

    def __init__(self, watching, run):
        self.watching, self.steps = watching, iter(run)

    def __call__(self, kind, inputs, settings, output):
        step = next(self.steps, None)
        if step is None or step.kind != kind:
            raise ValueError(f"on the calibration images the model ran {kind!r}, where its trace has "
                             f"{step and step.kind!r}: it must take one way for all inputs")  # fmt: skip
        _show(self.watching, step.output, output, f"on the calibration images, {step.name or 'the model'!r} makes")


def _show(watching, value, tensor, whose):
    if value in watching:
        try:
            watching[value].observe(tensor.data)
        except ValueError:
            advice = "Mend the data or leave them out"
            raise ValueError(f"{whose} NaN or infinity, and so have no range. {advice}") from None


@contextlib.contextmanager
def _listening(listener):
    ops.LISTENERS.append(listener)
    try:
        yield
    finally:
        ops.LISTENERS.remove(listener)
