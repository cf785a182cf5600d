"""`DataLoader`: samples in batches, in an order that (seed, epoch) alone decides."""

import operator

import numpy as np

from tinyopt import backend
from tinyopt.errors import DtypeError, ShapeError
from tinyopt.tensor import Tensor


class DataLoader:
    """Cut a data set into batches: `for images, labels in loader`, once through is an epoch.

        order of epoch e = default_rng([seed, e]).permutation(N)

    No state is carried from epoch to epoch, so a run that was stopped goes on where it was:
    `loader.set_epoch(e)`, or `loader.batches(e, start)` for the middle of an epoch. `epoch` starts at 0
    and grows by 1 each time an epoch is run to its end. (Another version of NumPy may draw another order.)

    On the CPU a batch is a view of the data, or with `shuffle` one indexing of it. On another device the
    data are uploaded once and the order once an epoch, and a batch is made there: a step moves nothing.
    Arrays that someone could still change are copied, once, here; those of `tinyopt.data` are frozen.

    Shapes: data, a Part or a pair (images, labels): images (N, ...) floats; labels (N, ...) integers from
            0, or floats (targets of a regression, soft labels). A batch is two Tensors of B rows, the
            last one perhaps of fewer; with `drop_last` such a one is left out.
    Raises: all of it here, once: ShapeError for empty data or lengths that differ; DtypeError for
            images or labels of a wrong type; ValueError for NaN or infinity, for a label below 0 or not
            below `n_classes`, or for a batch_size that gives no batch. `highest_label` (None for floats) is
            for whoever knows later how many classes there are.
    Differs: PyTorch fetches samples one by one from an object; these are arrays, indexed once a batch.
            PyTorch's order comes from a global generator.
    """

    def __init__(
        self, data, batch_size=64, shuffle=False, seed=0, drop_last=False, device="cpu", n_classes=None
    ):
        images, labels = _pair(data)
        images = _checked_images(_host_array(images, "images"))
        labels = _checked_labels(_host_array(labels, "labels"), n_classes)
        if len(images) != len(labels):
            raise ShapeError(f"each image needs one label; got {len(images)} images and {len(labels)} labels")
        self.batch_size = _whole_number("batch_size", batch_size, at_least=1)
        self.shuffle, self.drop_last, self.device = bool(shuffle), bool(drop_last), device
        self.seed = _whole_number("seed", seed, at_least=0)
        self.n_samples = len(images)
        self.highest_label = int(labels.max()) if labels.dtype.kind in "iu" else None
        if len(self) == 0:
            raise ValueError(f"{self.n_samples} samples with drop_last give no batch of size {batch_size}. "
                             f"Take batch_size <= {self.n_samples}, or drop_last=False")
        self.images, self.labels = (backend.to_device(array, device) for array in (images, labels))
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Say which epoch comes next."""
        self.epoch = _whole_number("epoch", epoch, at_least=0)

    def order(self, epoch):
        """The row numbers of the samples, in the order in which this epoch comes to them: (N,)."""
        if not self.shuffle:
            return np.arange(self.n_samples)
        return np.random.default_rng([self.seed, epoch]).permutation(self.n_samples)

    def batches(self, epoch, start=0):
        """The batches of one epoch from number `start` on; `epoch` of this loader stays as it is."""
        epoch, start = _whole_number("epoch", epoch, at_least=0), _whole_number("start", start, at_least=0)
        order = backend.to_device(self.order(epoch), self.device) if self.shuffle else None
        for first in range(start * self.batch_size, len(self) * self.batch_size, self.batch_size):
            rows = slice(first, first + self.batch_size)
            if order is not None:
                rows = order[rows]
            yield _batch(self.images, rows), _batch(self.labels, rows)

    def __iter__(self):
        epoch = self.epoch
        yield from self.batches(epoch)
        self.epoch = epoch + 1

    def __len__(self):
        """The number of batches in an epoch."""
        whole, rest = divmod(self.n_samples, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __repr__(self):
        return (f"DataLoader({self.n_samples} samples {self.images.shape[1:]} in {len(self)} batches, "
                f"batch_size={self.batch_size}, shuffle={self.shuffle}, seed={self.seed}, "
                f"drop_last={self.drop_last}, device={self.device!r}, epoch={self.epoch})")


def _batch(array, rows):
    """The chosen rows as a Tensor: a view for a slice, else a new array, frozen so that Tensor keeps it."""
    picked = array[rows]
    if isinstance(picked, np.ndarray):
        picked.setflags(write=False)
    return Tensor(picked)


# --- what is checked once, at construction --------------------------------------------------------


def _pair(data):
    try:
        images, labels = data
    except (TypeError, ValueError):
        raise TypeError("DataLoader takes one part of a data set, such as data.train, or a pair "
                        f"(images, labels); got {type(data).__name__}") from None
    return images, labels


def _host_array(value, what):
    """`value` as an array on the host; as in Tensor, Python's floats become float32."""
    if isinstance(value, Tensor):
        value = value.data
    if backend.is_array(value):
        return backend.to_host(value)
    try:
        array = np.array(value)
    except ValueError:
        raise ShapeError(f"the {what} make no array: they must all have one shape") from None
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _checked_images(images):
    if images.ndim == 0 or images.size == 0:
        raise ShapeError(f"the data are empty: images has shape {images.shape}; N samples are (N, ...)")
    if images.dtype.kind != "f":
        raise DtypeError(f"images are floats, best between 0 and 1; got {images.dtype}. "
                         "Bytes from 0 to 255: divide by 255: images.astype('float32') / 255")
    return _finite(images, "image")


def _checked_labels(labels, n_classes):
    if labels.ndim and labels.dtype.kind == "f":
        if n_classes is not None and labels.shape[1:] != (n_classes,):
            raise DtypeError(
                f"labels of {n_classes} classes are whole numbers (N,), or soft labels (N, {n_classes}); "
                f"got {labels.dtype} of shape {labels.shape}. Convert first: labels.astype('int64')"
            )
        return _finite(labels, "label")
    if labels.ndim == 0 or labels.dtype.kind not in "iu":
        raise DtypeError(
            "labels are whole numbers (N,), or floats as targets of a regression; "
            f"got {labels.dtype} of shape {labels.shape}. Convert first: labels.astype('int64')"
        )
    lowest, highest = labels.min(initial=0), labels.max(initial=0)
    if lowest < 0 or (n_classes is not None and highest >= n_classes):
        wrong = labels < 0 if lowest < 0 else labels >= n_classes
        place = tuple(np.argwhere(wrong)[0].tolist())
        bounds = "from 0" if n_classes is None else f"from 0 to {n_classes - 1}"
        raise ValueError(f"labels count classes {bounds}; label {place[0]} is {labels[place]}. "
                         "If they count from 1, subtract 1")
    return Tensor(labels.astype(np.int64, copy=False)).data


def _finite(array, what):
    """A frozen array without NaN or infinity: the data themselves if they were frozen, else a copy."""
    good = np.isfinite(array)
    if not good.all():
        place = tuple(np.argwhere(~good)[0].tolist())
        raise ValueError(f"{what} {place[0]} is not finite: {array[place]} at {place}. Mend it or leave that "
                         "sample out: it would turn every weight into NaN")
    return Tensor(array).data


def _whole_number(name, value, at_least):
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < at_least:
        raise ValueError(f"{name} is a whole number >= {at_least}; got {value!r}")
    return number
