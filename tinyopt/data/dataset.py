"""`Part` and `Dataset`: images with their labels, in three parts that never mix."""

from dataclasses import dataclass

import numpy as np

from tinyopt import backend


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Hold images and their labels: `images, labels = data.train` takes them apart.

    Shapes: images (N, C, H, W), labels (N,).
    Units:  images float32 in [0, 1], 0 is the background; labels int64, from 0. Both are frozen.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        return iter((self.images, self.labels))

    def take(self, rows):
        """Choose some samples: `rows` is a slice, an array of row numbers, or a mask."""
        chosen = Part(self.images[rows], self.labels[rows])
        for array in chosen:
            array.setflags(write=False)
        return chosen

    def sample(self, n, rng=None):
        """Draw `n` different samples, all equally likely: a small set to calibrate on, say.

        Raises: ValueError if there are fewer than n.
        """
        if not 0 <= n <= len(self):
            raise ValueError(f"sample(n) draws without repeats, so n is at most {len(self)} here; got {n}")
        return self.take(backend.generator(rng).choice(len(self), size=n, replace=False))

    def __repr__(self):
        shapes = (f"{name} {array.shape} {array.dtype}" for name, array in vars(self).items())
        return f"Part({', '.join(shapes)})"


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Hold the three parts of a data set: fit on `train`, choose on `val`, report on `test`, once.

    Shapes: classes, a tuple of names; label c means classes[c].
    """

    name: str
    classes: tuple
    train: Part
    val: Part
    test: Part

    @property
    def n_classes(self):
        return len(self.classes)

    @property
    def input_shape(self):
        """The shape of one image: (C, H, W)."""
        return self.train.images.shape[1:]

    def __repr__(self):
        sizes = ", ".join(f"{part} {len(getattr(self, part)):,}" for part in ("train", "val", "test"))
        return (
            f"Dataset {self.name}: images {self.input_shape} float32 in [0, 1], {self.n_classes} classes\n"
            f"  parts:   {sizes}\n"
            f"  classes: {', '.join(self.classes)}"
        )


def as_images(pixels, white):
    """Turn the whole numbers that files hold into images for a network: a channel axis, floats in [0, 1].

        image = pixel / white        in float32: 8-bit integers would wrap round at the first subtraction

    Shapes: pixels (N, H, W) -> (N, 1, H, W), float32; `pixels` is not changed.
    Units:  pixels are whole numbers from 0 to `white`.
    """
    return np.divide(pixels[:, np.newaxis], white, dtype=np.float32)


def split(name, classes, pixels, labels, n_val, n_test, *, white):
    """Cut pixels that lie in the order train, validation, test into the three parts, as views.

    Shapes: pixels (N, H, W), whole numbers from 0 to `white`; labels (N,).
    """
    images = as_images(pixels, white)  # (N, 1, H, W)
    labels = labels.astype(np.int64)
    for array in (images, labels):
        array.setflags(write=False)  # a Tensor takes frozen arrays, and views of them, without a copy
    stop = len(labels) - n_test
    rows = (slice(0, stop - n_val), slice(stop - n_val, stop), slice(stop, None))
    return Dataset(name, classes, *(Part(images[r], labels[r]) for r in rows))
