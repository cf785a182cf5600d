"""The state of a training run in one file, so that a run killed at any moment can go on where it was.

The file is a container (`codec/container.py`): arrays are blobs, all else is JSON; there is no pickle.
"""

import numpy as np

from tinyopt import backend, codec
from tinyopt.errors import FormatError
from tinyopt.tensor import Tensor

_MARK = "checkpoint"


def save_state(path, state):
    """Write a nested dictionary of arrays, numbers, texts and lists, atomically.

    Raises: OSError with a clear sentence if the path cannot be written; TypeError for other values.
    """
    plain, arrays = {}, {}
    for key, value in _flatten(state):
        if isinstance(value, Tensor):
            value = value.data
        if backend.is_array(value):
            value = backend.to_host(value)
            arrays[key] = (value.dtype.str, value.shape, value.tobytes())
        else:
            plain[key] = value.item() if isinstance(value, np.generic) else value
    shapes = {key: [dtype, list(shape)] for key, (dtype, shape, _) in arrays.items()}
    codec.write_container(path, {_MARK: plain, "arrays": shapes}, {key: data for key, (_, _, data) in arrays.items()})


def load_state(path):
    """Read back what `save_state` wrote; keys are text.

    Raises: FileNotFoundError; FormatError for a damaged file or one that is no checkpoint.
    """
    header, blobs = codec.read_container(path)
    if _MARK not in header:
        raise FormatError(f"{path} is no checkpoint; a saved model is read by tinyopt.load")
    leaves = dict(header[_MARK])
    for key, (dtype, shape) in header["arrays"].items():
        leaves[key] = np.frombuffer(blobs[key], dtype).reshape(shape)
    state = {}
    for key, value in leaves.items():
        *path_, last = key.split("/")
        place = state
        for part in path_:
            place = place.setdefault(part, {})
        place[last] = value
    return state


def _flatten(state, prefix=""):
    """Yield ("a/b/c", value) for the leaves of a nested dictionary; an empty one is a leaf."""
    for key, value in state.items():
        if "/" in str(key):
            raise ValueError(f"a key in a checkpoint may hold no '/'; got {key!r}")
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value
