"""MNIST and Fashion-MNIST, whole: 60,000 + 10,000 images of 28×28 pixels."""

import numpy as np

from tinyopt.data.dataset import split
from tinyopt.data.fetch import FASHION_MNIST, MNIST, fetch
from tinyopt.data.idx import decode_idx

N_VAL = 5_000
CLOTHES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def mnist(folder=None, mirrors=None):
    """Load MNIST: handwritten digits.

    The files are looked for in `folder` (or $TINYOPT_DATA), in the cache, where Debian puts data sets, and
    on the web; see `tinyopt.data.fetch`.

    Shapes: images (55000 + 5000 + 10000, 1, 28, 28); `val` is the last 5,000 of the training file.
    Units:  a pixel is k/255, k = 0 ... 255.
    Raises: FileNotFoundError if the files are nowhere: it says where to put them. FormatError if one is
            damaged.
    Source: LeCun, Bottou, Bengio & Haffner (1998), "Gradient-Based Learning Applied to Document
            Recognition", Proc. IEEE 86(11).
    """
    return _load(MNIST, tuple("0123456789"), folder, mirrors)


def fashion_mnist(folder=None, mirrors=None):
    """Load Fashion-MNIST: clothes, shoes and bags, in MNIST's format, and harder.

    Shapes: as `mnist`; Units and Raises too.
    Source: Xiao, Rasul & Vollgraf (2017), "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
            Learning Algorithms", arXiv:1708.07747.
    """
    return _load(FASHION_MNIST, CLOTHES, folder, mirrors)


def _load(source, classes, folder, mirrors):
    content = fetch(source, folder, mirrors)
    arrays = {name: decode_idx(data, name) for name, data in content.items()}
    pixels = np.concatenate([arrays["train-images-idx3-ubyte"], arrays["t10k-images-idx3-ubyte"]])
    labels = np.concatenate([arrays["train-labels-idx1-ubyte"], arrays["t10k-labels-idx1-ubyte"]])
    n_test = len(arrays["t10k-labels-idx1-ubyte"])
    return split(source.name, classes, pixels, labels, N_VAL, n_test, white=255)
