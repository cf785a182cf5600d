"""Make `formats.npz`: PyTorch's decode tables of both fp8 formats and bf16, and how it rounds, so that
`test_codec_floats.py` needs no PyTorch.

    python tests/reference/make_formats_reference.py          (PyTorch 2.13.0 on a CPU, seed 8)

For each format NAME: `NAME_table`, the number of each code (of bf16, only of every 37th); `NAME_x`, numbers drawn
from the whole range of float32, with midpoints between neighbours, below the format's largest number plus half a
step; and `NAME_codes`, what PyTorch rounds them to.
"""

import pathlib

import numpy as np
import torch

SEED, N_DRAWN = 8, 400
FORMATS = {  # its dtype, the unsigned integers of its codes, largest number plus half a step
    "fp8_e4m3": (torch.float8_e4m3fn, np.uint8, 464),
    "fp8_e5m2": (torch.float8_e5m2, np.uint8, 61440),
    "bf16": (torch.bfloat16, np.uint16, 3.3961775292304957e38),
}


def main():
    rng, found = np.random.default_rng(SEED), {}
    for name, (dtype, kind, edge) in FORMATS.items():
        codes = np.arange(0, 1 << 8 * np.dtype(kind).itemsize, 37 if kind is np.uint16 else 1).astype(kind)
        signed = torch.from_numpy(codes.view(f"i{codes.itemsize}"))
        table = signed.view(dtype).float().numpy()
        finite = np.unique(table[np.isfinite(table)]).astype(np.float64)
        powers = 2.0 ** rng.uniform(-149, np.log2(edge), N_DRAWN)
        near = 2.0 ** rng.uniform(-18, 16, N_DRAWN) if kind is np.uint8 else powers
        x = np.concatenate([powers, near, -near, (finite[1:] + finite[:-1]) / 2, finite]).astype(np.float32)
        x = x[abs(x) < edge]
        rounded = torch.from_numpy(x).to(dtype).view(torch.int8 if kind is np.uint8 else torch.int16)
        found |= {f"{name}_table": table, f"{name}_x": x, f"{name}_codes": rounded.numpy().view(kind)}
    np.savez_compressed(pathlib.Path(__file__).with_name("formats.npz"), **found)


if __name__ == "__main__":
    main()
