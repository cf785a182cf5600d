"""Floats of 16, 8 and 4 bits: fp16, bf16, fp8, fp4, and NF4, which is a table.

A float is a sign, an exponent and a mantissa, side by side. Here is 1.75 in fp8 E4M3 (bias 7, 3 bits of mantissa):

    bits    0 0111 110        value = (−1)^sign · 2^(exponent − bias) · 1.mantissa
    means   +    7   6              = 2^(7 − 7) · (1 + 6/8) = 1.75

Between two powers of two all steps are equal, and each next power doubles them: the *relative* error is about the same
everywhere. An integer's steps are all equal instead. More bits of exponent buy range, more bits of mantissa buy finer
steps. Exponent 0 means 0.mantissa at the smallest power: the *subnormal* numbers, with zero among them.

Start here: `fields`, then `decode` and `encode`, for the `FORMATS` in the table. The rest gives weights a scale
that brings them into a format's range.
"""

import dataclasses
import difflib

import numpy as np

from tinyopt.errors import DtypeError

from .affine import in_groups, min_max
from .levels import nearest_level


@dataclasses.dataclass(frozen=True)
class Float:
    """How many bits stand for what. Codes without their sign bit ascend with the numbers that they stand for.

    `specials` says what the highest codes are: "ieee", the largest exponent is for Inf and NaN; "nan", only the
    very last code is no number; "none", all are numbers.
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: str

    bits = property(lambda self: 1 + self.exponent_bits + self.mantissa_bits)
    bias = property(lambda self: 2 ** (self.exponent_bits - 1) - 1)

    @property
    def largest_code(self):
        """The code of the largest finite number; the one after it is Inf (or NaN, where there is no Inf)."""
        last = 2 ** (self.exponent_bits + self.mantissa_bits) - 1
        return {"ieee": last - 2**self.mantissa_bits, "nan": last - 1, "none": last}[self.specials]

    @property
    def nan_code(self):
        """The code that NaN gets; None if there is none."""
        quiet = self.largest_code + 1 + 2 ** (self.mantissa_bits - 1)  # the first bit of the mantissa is set
        return {"ieee": quiet, "nan": self.largest_code + 1, "none": None}[self.specials]

    @property
    def last_step(self):
        """The distance of the two largest numbers."""
        return 2.0 ** ((self.largest_code >> self.mantissa_bits) - self.bias - self.mantissa_bits)

    @property
    def largest(self):
        """The largest finite number."""
        return (2**self.mantissa_bits + self.largest_code % 2**self.mantissa_bits) * self.last_step


@dataclasses.dataclass(frozen=True)
class Table:
    """A format that is a list of numbers, ascending; a code is a place in it."""

    name: str
    levels: tuple

    bits = property(lambda self: (len(self.levels) - 1).bit_length())
    largest = property(lambda self: self.levels[-1])
    last_step = property(lambda self: self.levels[-1] - self.levels[-2])


# Sources: fp16 is IEEE 754-2008's binary16; bf16 the upper half of a float32. fp8: Micikevicius et al. (2022), "FP8
# Formats for Deep Learning", arXiv:2209.05433, Table 1, and the Open Compute Project's "8-bit Floating Point
# Specification" (OFP8). fp4: its "Microscaling Formats (MX) Specification". NF4: Dettmers, Pagnoni, Holtzman &
# Zettlemoyer (2023), "QLoRA: Efficient Finetuning of Quantized LLMs", arXiv:2305.14314, Appendix E: quantiles of the
# normal distribution, moved so that zero is one of them.
FORMATS = {
    format.name: format
    for format in (
        Float("fp16", exponent_bits=5, mantissa_bits=10, specials="ieee"),
        Float("bf16", exponent_bits=8, mantissa_bits=7, specials="ieee"),
        Float("fp8_e4m3", exponent_bits=4, mantissa_bits=3, specials="nan"),
        Float("fp8_e5m2", exponent_bits=5, mantissa_bits=2, specials="ieee"),
        Float("fp4_e2m1", exponent_bits=2, mantissa_bits=1, specials="none"),
        Table("nf4", (
            -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
            -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
            0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
        )),
    )
}  # fmt: skip


def named(format):
    """The format of this name.

    Raises: ValueError for an unknown one, with the nearest name.
    """
    if format not in FORMATS:
        said = str(format).lower()
        near = [name for name in FORMATS if name.startswith(said)] or difflib.get_close_matches(said, FORMATS, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a format is one of {', '.join(FORMATS)}; got {format!r}{hint}")
    return FORMATS[format]


def fields(codes, format):
    """Take codes apart: the sign, the exponent as it is stored, the mantissa.

    Shapes: codes (...), unsigned integers -> three arrays (...), int32.
    Raises: ValueError for a format that is a table: its codes have no parts.
    """
    f = named(format)
    if not hasattr(f, "mantissa_bits"):
        raise ValueError(f"{f.name} is a table of {len(f.levels)} numbers: its codes have no sign, exponent, mantissa")
    codes = codes.astype(np.int32)
    return codes >> f.bits - 1, codes >> f.mantissa_bits & 2**f.exponent_bits - 1, codes & 2**f.mantissa_bits - 1


def decode(codes, format):
    """Codes to numbers.

        exponent > 0   (−1)^sign · 2^(exponent − bias) · (1 + mantissa / 2^m)
        exponent = 0   (−1)^sign · 2^(1 − bias) · (0 + mantissa / 2^m)

    Shapes: codes (...), unsigned integers below 2^bits -> (...), float32, which holds each of them exactly.
    Source: beside `FORMATS`.
    """
    f = named(format)
    if isinstance(f, Table):
        return _table(f, codes)[codes]
    sign, exponent, mantissa = fields(codes, format)
    steps = mantissa + (exponent > 0) * 2**f.mantissa_bits  # 1.mantissa or 0.mantissa, in steps of the last bit
    power = np.clip(exponent, 1, f.largest_code >> f.mantissa_bits) - f.bias
    size = np.ldexp(steps.astype(np.float32), power - f.mantissa_bits)
    if f.specials != "none":
        code = exponent * 2**f.mantissa_bits + mantissa
        beyond = np.where(mantissa == 0, np.inf, np.nan) if f.specials == "ieee" else np.nan
        size = np.where(code > f.largest_code, beyond, size).astype(np.float32)
    return np.copysign(size, 0.5 - sign).astype(np.float32)


def encode(x, format, *, saturate=False):
    """Numbers to the codes of the nearest ones that the format has; half way goes to the even code (in a table, up).

        p = max(⌊log₂|x|⌋, 1 − bias)        steps = round(|x| / 2^(p − m))
        code = steps + (p − (1 − bias)) · 2^m, and the sign in front

    Steps that round up to the next power of two give its code by themselves. What rounds to more than the
    largest number becomes Inf in the formats that have it, else NaN, as the OFP8 specification says; with
    saturate=True it becomes the largest number. The tables and fp4, which have neither, always saturate.

    Shapes: x (...), float32 or float64 -> codes (...), uint8, or uint16 for 16 bits.
    Raises: DtypeError for other dtypes; ValueError for an unknown format, or for NaN where the format has none
            (looked for only on the host).
    Source: beside `FORMATS`; rounding: IEEE 754-2008, Section 4.3.1.
    Differs: PyTorch 2.13 turns what is too large for E4M3 into 448, as saturate=True does.
    """
    f = named(format)
    if getattr(x, "dtype", None) not in (np.float32, np.float64):
        raise DtypeError(f"encode takes an array of float32 or float64; got {getattr(x, 'dtype', type(x))}. "
                         "Use x.astype(np.float32).")  # fmt: skip
    if isinstance(f, Table):
        return nearest_level(x, _table(f, x))
    if f.specials == "none" and isinstance(x, np.ndarray) and np.isnan(x).any():
        raise ValueError(f"{f.name} has no NaN; {np.isnan(x).sum()} of {x.size} numbers are. Mend or mask them first.")
    size, smallest = abs(x), 1 - f.bias
    power = np.frexp(np.maximum(size, 2.0**smallest))[1] - 1  # frexp counts from 0.5, not from 1
    steps = np.rint(np.ldexp(size, f.mantissa_bits - power))  # a product with a power of two: exact
    code = steps + (power - smallest).astype(x.dtype) * 2**f.mantissa_bits
    highest = f.largest_code if saturate or f.specials == "none" else f.largest_code + 1
    code = np.minimum(code, highest)
    if f.nan_code is not None:
        code = np.where(np.isnan(x), f.nan_code, code)
    kind = np.uint8 if f.bits <= 8 else np.uint16
    return code.astype(kind) + np.signbit(x).astype(kind) * 2 ** (f.bits - 1)


def levels(format):
    """All finite numbers that a format holds, ascending, each once.

    Shapes: -> (K,), float32; K < 2^bits where codes are Inf or NaN, or stand for −0.
    """
    f = named(format)
    numbers = decode(np.arange(2**f.bits, dtype=np.uint32), format)
    return np.unique(numbers[np.isfinite(numbers)] + 0.0)  # + 0 makes 0 of −0


# --- with a scale -----------------------------------------------------------------------------------------


def absmax_scale(x, format, *, axis=None, group_size=None):
    """The scale that brings the largest number of x, of each row (axis=0) or of each group, to the format's largest.

        scale = max|x| / largest

    For formats of 8 bits or fewer; fp16 and bf16 hold numbers of any usual size without.

    Shapes: x (O, ...) -> scale () for axis=None, (O, 1, ...) for axis=0; with a group size (O, G, 1): each row in G
            groups of neighbours (`affine.in_groups`; x (n,) counts as one row).
    Start:  never below the smallest normal float, so that zeros divide by that and stay zeros.
    Raises: ValueError for NaN and Inf (looked for only on the host); ShapeError for an empty x, or a group size that
            does not divide its rows; DtypeError for other dtypes.
    Source: Dettmers et al. (2023), arXiv:2305.14314, Section 2 (block-wise k-bit quantization).
    Differs: their blocks run on from row to row.
    """
    f = named(format)
    low, high = min_max(x if group_size is None else in_groups(x, group_size), axis=axis if group_size is None else 0)
    scale = np.maximum(np.maximum(high, -low) / f.largest, float(np.finfo(x.dtype).tiny))
    if group_size is not None:
        return scale.reshape(len(x) if x.ndim > 1 else 1, -1, 1)
    return scale[...] if axis is None else scale.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def beside(x, scale):
    """x in the shape in which it meets a scale of `absmax_scale`: (O, G, group_size) for groups, else as it is."""
    return x.reshape(*scale.shape[:2], -1) if scale.ndim == 3 else x


def to_codes(x, scale, format):
    """encode(x / scale), saturated: how a weight is stored. Shapes: x (...), scale of `absmax_scale` -> codes (...)."""
    return encode(beside(x, scale) / scale, format, saturate=True).reshape(x.shape)


def from_codes(codes, scale, format):
    """decode(codes) · scale: how it is read back. Shapes: as `to_codes` -> (...), in the scale's dtype."""
    return rescale(decode(codes, format), scale)


def rescale(numbers, scale):
    """numbers · scale, group by group if there are groups. Shapes: numbers (...) -> (...), in the scale's dtype."""
    return (beside(numbers.astype(scale.dtype), scale) * scale).reshape(numbers.shape)


def _table(format, like):
    """The levels of a table on the device of another array: written number by number, which is no transfer."""
    numbers = np.zeros_like(like, shape=(len(format.levels),), dtype=np.float32)
    for place, level in enumerate(format.levels):
        numbers[place] = level
    return numbers
