"""How a file holds a codebook for each band of rows: the first as any codebook, with all labels; then the others."""

import numpy as np

from tinyopt import backend, codec
from tinyopt.errors import FormatError
from tinyopt.nn.grouped import GroupedCodebook, bands
from tinyopt.storage.registry import n_stored, plain, spread, storage, survivors


@storage("codebooks")
class SharedByBand:
    """G codebooks of K values, and for each number (of a mask: each survivor) which of K; the row says which of G."""

    view = GroupedCodebook

    @staticmethod
    def pack(parameter, view, keep, coding):
        values = plain(backend.to_host(parameter.data))
        k = len(values) // view.groups
        within = backend.to_host(view.labels) % k
        how = "packed" if coding == "packed" else "auto"
        first = codec.encode_codebook(survivors(within, keep), values[:k], coding=how)
        return {"groups": view.groups}, {"codebook": first, "others": values[k:].tobytes()}

    @staticmethod
    def unpack(settings, parts, shape, keep):
        within, first = codec.decode_codebook(parts["codebook"], n_stored(shape, keep))
        groups, others = settings["groups"], np.frombuffer(parts["others"], plain(first).dtype)
        values = np.concatenate([first, others]).astype(first.dtype)
        if len(values) != groups * len(first):
            raise FormatError(f"{groups} codebooks of {len(first)} values are due; got {len(values)}: the file was changed")
        begin = bands(shape[0], groups) * len(first)
        labels = spread(within.astype(np.int64), shape, keep) + begin.reshape(-1, *[1] * (len(shape) - 1))
        return values, GroupedCodebook(labels.astype(np.min_scalar_type(len(values) - 1)), groups)
