"""How many bits for each layer: each layer's sensitivity is measured, and a byte budget is spent where it helps most.

Start with these three: `cheapest` chooses, on arrays; `scan_bits` measures what there is to choose from, a loop over
layers; `BitScan.choose` brings them together:

    found = scan_bits(model, digits)                 # looks at the validation part, and at no other
    quantize(model, found.choose(60_000))            # {parameter name: bits}, a file of at most 60,000 bytes
"""

import copy
import dataclasses
import os

import numpy as np

from tinyopt.compress.layers import chosen_weights
from tinyopt.compress.quantize import quantize
from tinyopt.compress.sensitivity import one_at_a_time
from tinyopt.files import ledger, save
from tinyopt.measure.table import text_table

BITS = (8, 6, 5, 4, 3, 2)
HEADER = 16  # bytes: a file's header is deflated, so its size depends a little on the mix; so much more for each layer


def cheapest(costs, sizes, budget):
    """Choose an option for each layer so that the costs sum to the least, and the sizes to no more than a budget.

        minimise  Σ cost[l, k_l]        so that  Σ size[l, k_l] ≤ budget

    Exact, by dynamic programming: of all ways to settle the first l layers, a way is dropped if another is no larger
    *and* no dearer. Whatever the later layers add, they add to both alike, so a best whole choice begins with one that
    is kept. Those are at most as many as there are different sizes, and not K^L.

    Shapes: costs and sizes (L, K), floats and integers -> (L,), the option of each layer.
    Raises: ValueError if costs are not finite, or the smallest options together exceed the budget.
    Source: Nemhauser & Ullmann (1969), "Discrete Dynamic Programming and Capital Allocation", Management
            Science 15(9).
    """
    if not np.isfinite(costs).all():
        raise ValueError("costs must be finite to be summed; some are NaN or infinite. Scan more bits")
    least = sizes.min(axis=1)
    if not least.sum() <= budget:
        raise ValueError(
            f"a budget of {budget:,} bytes is too small: the smallest choice has {least.sum():,}. Allow more bytes, "
            "scan fewer bits, or quantize in larger groups"
        )
    size, cost, steps = np.zeros(1, np.int64), np.zeros(1), []
    for i in range(len(costs)):
        all_sizes, all_costs = (size[:, None] + sizes[i]).ravel(), (cost[:, None] + costs[i]).ravel()  # (kept · K,)
        order = np.lexsort((all_costs, all_sizes))  # by size, and by cost where that is the same
        order = order[all_sizes[order] + least[i + 1 :].sum() <= budget]
        lowest = np.minimum.accumulate(all_costs[order])
        kept = order[np.diff(lowest, prepend=np.inf) < 0]  # cheaper than all that are smaller
        size, cost = all_sizes[kept], all_costs[kept]
        steps.append(np.divmod(kept, sizes.shape[1]))  # which of those before, and the option
    chosen, at = [], -1  # the last is the cheapest
    for before, option in reversed(steps):
        chosen.append(option[at])
        at = before[at]
    return np.array(chosen[::-1])


@dataclasses.dataclass(frozen=True, eq=False)
class BitScan:
    """What `scan_bits` found: validation loss and accuracy with one layer quantized and all others as they were.

    Shapes: names, L parameters; bits (K,), the first is 32: as it was; sizes, loss and accuracy (L, K).
    Units:  sizes, bytes of that weight in a file, all its parts; rest, bytes of all else there; loss in nats.
    """

    names: tuple
    bits: np.ndarray
    sizes: np.ndarray
    rest: int
    loss: np.ndarray
    accuracy: np.ndarray

    def choose(self, n_bytes):
        """Bits for all layers: the file has at most `n_bytes`, and the rises of the loss sum to the least.

        Rises never fall, as in `sensitivity.balanced`: where the loss is lower with fewer bits (coarse weights can make
        a network less sure, which costs no accuracy), it counts as what came before it. Of choices with the same
        sum, it is the smallest. That layers hurt more together than one by one is not seen.

        Units:  n_bytes, of the whole file, packed -> {parameter name: bits}, to be given to `quantize` with the
                settings of the scan; a layer that may stay as it was is left out.
        Raises: as `cheapest`.
        """
        rises, sizes = np.maximum.accumulate(self.loss - self.loss[:, :1], axis=1), self.sizes.copy()
        sizes[0] += self.rest  # whatever is chosen, so it may lie anywhere
        bits = self.bits[cheapest(rises, sizes, n_bytes)]
        return {name: n for name, n in zip(self.names, bits.tolist()) if n < 32}

    def __str__(self):
        header = ["validation accuracy, %", "weights' bytes", "as it was", *(f"{n} bits" for n in self.bits[1:])]
        rows = zip(self.names, self.sizes[:, 0].tolist(), self.accuracy)
        return text_table(header, [[name, n, *(f"{100 * a:.1f}" for a in line)] for name, n, line in rows])


def scan_bits(model, data, bits=BITS, *, skip=(), **settings):
    """Quantize one layer at a time to fewer and fewer bits, and look each time how the model does on validation data.

    Each trial is a copy: the model stays as it was. The bytes are those of files that are written and read again.

    Shapes: data, a `Dataset`, of which only `val` is read; settings are handed to `quantize`.
    Units:  bits, descending, in 1..16. Returns a `BitScan`.
    Raises: TypeError for data without a validation part; ValueError for other bits, or nothing to quantize.
    Source: Dong, Yao, Gholami, Mahoney & Keutzer (2019), "HAWQ: Hessian AWare Quantization of Neural Networks with
            Mixed-Precision", arXiv:1905.03696 (bits by layer, from each layer's sensitivity).
    Differs: they rank layers by their Hessian; here each layer is tried, and the bits under a budget are exact.
    """
    bits = list(bits)
    if not bits or bits != sorted({*bits}, reverse=True) or not 1 <= bits[-1] <= bits[0] <= 16:
        raise ValueError(f"bits to scan are descending, in 1..16, such as {BITS}; got {bits}")
    names = tuple(chosen_weights(model, skip))
    loss, accuracy = one_at_a_time(model, data, names, bits, lambda *trial: quantize(*trial, **settings))
    files = [_stored(model, names)]
    for n_bits in bits:
        trial = copy.deepcopy(model)
        quantize(trial, {name: n_bits for name in names}, **settings)
        files.append(_stored(trial, names))
    rest = max(rest for _, rest in files) + HEADER * len(names)
    return BitScan(names, np.array([32, *bits]), np.array([sizes for sizes, _ in files]).T, rest, loss, accuracy)


def _stored(model, names):
    """How many bytes a model's file has for each of these parameters, and for all else."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        n_bytes = save(model, path)
        parts = ledger(path)
    sizes = [sum(size for tensor, *_, size in parts if tensor == name) for name in names]
    return sizes, n_bytes - sum(sizes)
