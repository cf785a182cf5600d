"""Small floats against published tables, PyTorch's and NumPy's own conversions, and a search over all codes."""

import pathlib
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt.codec import floats
from tinyopt.codec.floats import FORMATS, absmax_scale, decode, encode, fields, from_codes, levels, to_codes
from tinyopt.errors import DtypeError, ShapeError

REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "formats.npz")
SMALL = [name for name, format in FORMATS.items() if format.bits <= 8]
singles = hnp.arrays(np.float32, 9, elements=st.floats(width=32, allow_nan=False))
E2M1 = [0.0, 0.5, 1, 1.5, 2, 3, 4, 6]  # OCP's Microscaling Formats specification
LANDMARKS = {  # largest, smallest normal, smallest subnormal, bias: as OFP8, IEEE 754-2008 and MX print them
    "fp16": (65504, 2.0**-14, 2.0**-24, 15),
    "bf16": (2.0**127 * (2 - 2.0**-7), 2.0**-126, 2.0**-133, 127),
    "fp8_e4m3": (448, 2.0**-6, 2.0**-9, 7),
    "fp8_e5m2": (57344, 2.0**-14, 2.0**-16, 15),
    "fp4_e2m1": (6, 1, 0.5, 1),
}


def all_codes(name):
    return np.arange(2 ** FORMATS[name].bits, dtype=np.uint16 if FORMATS[name].bits == 16 else np.uint8)


def same(a, b):
    """Equal in every bit, but that any NaN is a NaN."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a), np.signbit(b))


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2"])
def test_fp8_decodes_to_the_published_table(name):
    assert same(decode(all_codes(name), name), REFERENCE[f"{name}_table"])


def test_fp4_decodes_to_the_published_table():
    assert same(decode(all_codes("fp4_e2m1"), "fp4_e2m1"), np.float32(E2M1 + [-v for v in E2M1]))


def test_fp16_and_bf16_decode_as_numpy_and_the_upper_half_of_a_float32():
    codes = all_codes("fp16")
    assert same(decode(codes, "fp16"), codes.view(np.float16).astype(np.float32))
    upper = (codes.astype(np.uint32) << 16).view(np.float32)
    assert same(decode(codes, "bf16"), upper)
    assert same(upper[::37], REFERENCE["bf16_table"])


def test_nf4_is_the_normal_distributions_quantiles_with_a_zero_among_them():
    normal, offset = statistics.NormalDist(), 0.9677083  # the paper's Section 3, its code's offset
    positive = [normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 9)[:-1]]
    negative = [-normal.inv_cdf(p) for p in np.linspace(offset, 0.5, 8)[:-1]]
    due = np.sort(positive + [0] + negative) / max(positive)
    assert np.allclose(levels("nf4"), due, atol=2e-7)
    assert levels("nf4")[[0, 7, 15]].tolist() == [-1, 0, 1]
    assert np.array_equal(decode(all_codes("nf4"), "nf4"), levels("nf4"))


@pytest.mark.parametrize("name", LANDMARKS)
def test_the_ends_of_each_format_are_the_published_ones(name):
    largest, normal, subnormal, bias = LANDMARKS[name]
    format, held = FORMATS[name], levels(name)
    assert format.bias == bias and format.largest == held[-1] == largest and held[held > 0][0] == np.float32(subnormal)
    assert decode(np.array([2**format.mantissa_bits], np.uint16), name) == np.float32(normal)
    assert format.last_step == float(held[-1]) - float(held[-2])
    n_special = {"fp16": 2048, "bf16": 256, "fp8_e4m3": 2, "fp8_e5m2": 8, "fp4_e2m1": 0}[name]
    assert len(held) == 2**format.bits - n_special - 1  # −0 and 0 are one number


def test_fields_of_a_number_that_one_can_take_apart_by_hand():
    parts = fields(np.uint8([0b0_0111_110, 0b1_0000_001]), "fp8_e4m3")  # 1.75 and −2⁻⁹
    assert [part.tolist() for part in parts] == [[0, 1], [7, 0], [6, 1]]
    assert decode(np.uint8([0b0_0111_110, 0b1_0000_001]), "fp8_e4m3").tolist() == [1.75, -(2.0**-9)]


@pytest.mark.parametrize("name", FORMATS)
def test_encode_takes_back_what_decode_made(name):
    codes = all_codes(name)
    numbers = decode(codes, name)
    again = encode(numbers[~np.isnan(numbers)], name)
    assert np.array_equal(again, codes[~np.isnan(numbers)])
    assert again.dtype == codes.dtype and numbers.dtype == np.float32


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2", "bf16"])
def test_numbers_round_as_in_pytorch(name):
    assert np.array_equal(encode(REFERENCE[f"{name}_x"], name), REFERENCE[f"{name}_codes"])


@given(x=singles)
def test_fp16_rounds_as_numpy_and_bf16_as_adding_half_of_the_last_bit(x):
    with np.errstate(over="ignore"):
        assert np.array_equal(encode(x, "fp16"), x.astype(np.float16).view(np.uint16))
    bits = x.view(np.uint32).astype(np.uint64)
    assert np.array_equal(encode(x, "bf16"), (bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


@pytest.mark.parametrize("name", SMALL)
@given(x=singles, power=st.integers(-20, 17))
def test_the_nearest_of_all_codes_is_taken_and_ties_go_to_the_even_one(name, x, power):
    x = np.ldexp(np.clip(x / np.float32(2.0**127), -2, 2), power)  # most of them where the format has its numbers
    codes = all_codes(name)
    table = decode(codes, name).astype(np.float64)
    table[np.isinf(table)] = np.nan
    for number, code in zip(x, encode(x, name, saturate=True)):
        distance = abs(table - np.float64(number))
        assert distance[code] == np.nanmin(distance)
        tied = codes[(distance == np.nanmin(distance)) & (np.signbit(table) == np.signbit(number))]
        assert name == "nf4" or len(tied) < 2 or code % 2 == 0


BEYOND = np.float32([np.inf, -np.inf, 1e38, -1e38])


@pytest.mark.parametrize(
    "name, due",
    [
        ("fp16", [np.inf, -np.inf] * 2), ("bf16", [np.inf, -np.inf, 1e38, -1e38]), ("fp8_e4m3", [np.nan] * 4),
        ("fp8_e5m2", [np.inf, -np.inf] * 2), ("fp4_e2m1", [6, -6] * 2), ("nf4", [1, -1] * 2),
    ],
)  # fmt: skip
def test_what_is_too_large_becomes_inf_or_nan_or_the_largest_as_published(name, due):
    largest = FORMATS[name].largest
    assert np.allclose(decode(encode(BEYOND, name), name), due, rtol=0.01, equal_nan=True)
    assert decode(encode(BEYOND[:2], name, saturate=True), name).tolist() == [largest, -largest]
    if FORMATS[name].bits > 4:
        assert np.isnan(decode(encode(np.float32([np.nan]), name, saturate=True), name)).all()


def test_half_a_step_above_the_largest_number_is_where_infinity_begins():
    assert decode(encode(np.float32([464, 464.1]), "fp8_e4m3"), "fp8_e4m3").tolist()[0] == 448
    assert np.isnan(decode(encode(np.float32([464.1]), "fp8_e4m3"), "fp8_e4m3"))  # 464 is a tie, and 448 even
    assert decode(encode(np.float32([61439, 61440]), "fp8_e5m2"), "fp8_e5m2").tolist() == [57344, np.inf]


def test_float64_is_rounded_once():
    x = np.array([1 + 2.0**-11 + 2.0**-40])  # float32 would make a tie of it, and fp16 then 1
    assert decode(encode(x, "fp16"), "fp16") == 1 + 2.0**-10


# --- with a scale ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@given(
    x=hnp.arrays(np.float32, (3, 2, 4), elements=st.floats(-1000, 1000, width=32)),
    how=st.sampled_from([{}, {"axis": 0}, {"group_size": 4}]),
)
def test_scaled_numbers_come_back_to_the_same_codes_and_the_largest_as_itself(name, x, how):
    scale, group = absmax_scale(x, name, **how), how.get("group_size")
    assert scale.shape == ((3, 2, 1) if group else (3, 1, 1) if how else ())
    codes = to_codes(x, scale, name)
    seen = from_codes(codes, scale, name)
    assert seen.dtype == np.float32 and seen.shape == x.shape
    assert np.array_equal(to_codes(seen, scale, name), codes) or (abs(x) < 1e-30).any()
    rows = x.reshape(-1, 4) if group else x.reshape(3 if how else 1, -1)
    for row, back in zip(rows, seen.reshape(rows.shape)):
        at = abs(row).argmax()
        assert np.isclose(back[at], row[at], rtol=1e-5, atol=1e-30)


def test_zeros_stay_zeros():
    for name in FORMATS:
        scale = absmax_scale(np.zeros((2, 4), np.float32), name, axis=0)
        assert not from_codes(to_codes(np.zeros((2, 4), np.float32), scale, name), scale, name).any()


ZEROS = np.zeros(6, np.float32)


@pytest.mark.parametrize(
    "attempt, error, sentence",
    [
        (lambda: encode(ZEROS, "fp8_e4m4"), ValueError, "one of fp16.*got 'fp8_e4m4'. Did you mean 'fp8_e4m3'?"),
        (lambda: decode(ZEROS.astype("u1"), "FP16"), ValueError, "Did you mean 'fp16'"),
        (lambda: levels(8), ValueError, "a format is one of.*got 8$"),
        (lambda: encode(np.arange(3), "fp16"), DtypeError, "float32 or float64; got int64"),
        (lambda: encode(ZEROS * np.nan, "fp4_e2m1"), ValueError, "fp4_e2m1 has no NaN; 6 of 6"),
        (lambda: encode(ZEROS * np.nan, "nf4"), ValueError, "6 of 6 numbers are NaN"),
        (lambda: absmax_scale(ZEROS + np.inf, "nf4"), ValueError, "finite numbers; 6 of 6 are NaN or Inf"),
        (lambda: absmax_scale(ZEROS, "nf4", group_size=4), ShapeError, "a group size divides the row.*got 4"),
        (lambda: absmax_scale(ZEROS, "nf4", group_size=-2), ShapeError, "a group size divides the row.*got -2"),
        (lambda: absmax_scale(ZEROS[:0], "nf4"), ShapeError, "at least one number"),
        (lambda: fields(ZEROS.astype("u1"), "nf4"), ValueError, "nf4 is a table of 16 numbers"),
    ],
)  # fmt: skip
def test_what_no_format_can_do_is_refused_in_a_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


def test_every_format_says_its_bits():
    assert {name: format.bits for name, format in floats.FORMATS.items()} == {
        "fp16": 16, "bf16": 16, "fp8_e4m3": 8, "fp8_e5m2": 8, "fp4_e2m1": 4, "nf4": 4,
    }  # fmt: skip
