"""How a file holds hashed weights: the shared values and the seed. There are no labels to store."""

from tinyopt import backend
from tinyopt.nn.hashed import Hashed
from tinyopt.storage.registry import plain, read_numbers, storage


@storage("hashed")
class HashedValues:
    """The K values, little-endian; K, the seed and whether there are signs are in the header. A mask changes nothing."""

    view = Hashed

    @staticmethod
    def pack(parameter, view, keep, coding):
        values = plain(backend.to_host(parameter.data))
        settings = {"n": len(values), "seed": view.seed, "signed": view.signed}
        settings |= {} if values.dtype == "float32" else {"dtype": values.dtype.str}
        return settings, {"values": values.tobytes()}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        values = read_numbers(parts["values"], settings.get("dtype", "<f4"), settings["n"])
        return values, Hashed(shape, settings["seed"], settings["signed"])
