"""Data sets, and the loader that cuts them into batches.

    dataset.py      Part and Dataset: what every function here returns
    embedded.py     digits, mnist5k: inside the package, no download
    downloaded.py   mnist, fashion_mnist: found on this machine or downloaded (fetch.py), in files that
                    idx.py reads
    loader.py       DataLoader: batches, the same again for the same (seed, epoch)
    synthetic.py    two_moons, spirals, linear_regression: small problems of known nature

`load("mnist5k")` finds a set by name.
"""

import difflib

from tinyopt.data.dataset import Dataset, Part
from tinyopt.data.downloaded import fashion_mnist, mnist
from tinyopt.data.embedded import digits, mnist5k
from tinyopt.data.idx import read_idx, write_idx
from tinyopt.data.loader import DataLoader
from tinyopt.data.synthetic import linear_regression, spirals, two_moons

__all__ = [
    "DATASETS", "DataLoader", "Dataset", "Part", "digits", "fashion_mnist", "linear_regression", "load",
    "mnist", "mnist5k", "read_idx", "spirals", "two_moons", "write_idx",
]  # fmt: skip

DATASETS = {"digits": digits, "mnist5k": mnist5k, "mnist": mnist, "fashion_mnist": fashion_mnist}


def load(name):
    """Load the data set called `name`: "digits", "mnist5k", "mnist" or "fashion_mnist".

    Raises: ValueError for another name; the message lists the names, and says which is the most similar.
    """
    if isinstance(name, str) and name in DATASETS:
        return DATASETS[name]()
    similar = difflib.get_close_matches(str(name).lower().replace("-", "_"), DATASETS, n=1)
    guess = f" Did you mean {similar[0]!r}?" if similar else ""
    raise ValueError(f"a data set is one of {', '.join(DATASETS)}; got {name!r}.{guess}")
