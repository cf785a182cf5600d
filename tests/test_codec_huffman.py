"""Huffman coding against brute force, published examples and a decoder that reads bit by bit."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyopt.codec import canonical_codes, code_lengths, entropy_bits
from tinyopt.codec.huffman import decode, encode, tree_depths
from tinyopt.errors import DtypeError, FormatError

counts_of_any_size = st.lists(st.integers(0, 1000), max_size=60)


def cost(counts, lengths):
    return int(np.dot(counts, np.asarray(lengths, np.int64)))


def best_cost(counts, longest):
    """Try every set of code lengths that a prefix code can have (Kraft's inequality)."""
    heaviest_first = sorted(counts, reverse=True)
    sets = itertools.combinations_with_replacement(range(1, longest + 1), len(counts))
    return min(cost(heaviest_first, s) for s in sets if sum(2 ** (longest - n) for n in s) <= 2**longest)


def canonical_by_counting(lengths):
    """The three steps of RFC 1951, Section 3.2.2, as they are written there."""
    n_of_length = [0] * 40
    for n in lengths:
        n_of_length[n] += n > 0
    code, next_code = 0, [0] * 40
    for n in range(1, 40):
        code = (code + n_of_length[n - 1]) * 2
        next_code[n] = code
    codes = []
    for n in lengths:
        codes.append(next_code[n] if n else 0)
        next_code[n] += 1
    return codes


def slow_decode(data):
    """Read a string as its docstring describes it, one bit at a time, with a dictionary of codes."""
    numbers, at = [], 0
    while len(numbers) < 3:
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value, shift = value + (byte & 127) * 2**shift, shift + 7
            if byte < 128:
                break
        numbers.append(value)
        if numbers == [0]:
            return []
    count, lowest, n_used = numbers[0], unfold(numbers[1]), numbers[2] + 1
    if n_used == 1:
        return [lowest] * count
    bits = iter("".join(f"{byte:08b}" for byte in data[at:]))
    unary = [len(list(itertools.takewhile("0".__eq__, bits))) for _ in range(2 * n_used - 1)]
    symbols = list(itertools.accumulate([lowest] + [gap + 1 for gap in unary[: n_used - 1]]))
    start = next(n for n in range(20) if 2**n >= n_used)
    lengths = list(itertools.accumulate(map(unfold, unary[n_used - 1 :]), initial=start))[1:]
    codes = [f"{code:0{n}b}" for code, n in zip(canonical_by_counting(lengths), lengths, strict=True)]
    book = dict(zip(codes, symbols, strict=True))
    out, code = [], ""
    while len(out) < count:
        code += next(bits)
        if code in book:
            out.append(book[code])
            code = ""
    assert len(rest := list(bits)) < 8 and "1" not in rest
    return out


def unfold(n):
    return n // 2 if n % 2 == 0 else -(n + 1) // 2


@given(st.lists(st.integers(1, 50), min_size=2, max_size=7))
def test_no_prefix_code_is_shorter(counts):
    assert cost(counts, code_lengths(counts)) == best_cost(counts, len(counts) - 1)
    assert cost(counts, tree_depths(counts)) == best_cost(counts, len(counts) - 1)


def test_a_leaf_that_is_alone_is_the_root():
    assert tree_depths([7]) == [0]


@given(st.lists(st.integers(1, 200), min_size=2, max_size=8), st.integers(3, 5))
@example([1, 1, 2, 3, 5, 8, 13, 21], 4)
def test_no_length_limited_prefix_code_is_shorter(counts, longest):
    lengths = code_lengths(counts, longest=longest)
    assert lengths.max() <= longest and cost(counts, lengths) == best_cost(counts, longest)


@given(counts_of_any_size)
def test_kraft_equality_and_shannons_bounds(counts):
    lengths = code_lengths(np.array(counts, int))
    used = [int(n) for n, c in zip(lengths, counts, strict=True) if c]
    assert lengths.dtype == np.uint8 and all(n == 0 for n, c in zip(lengths, counts, strict=True) if not c)
    if used:
        assert sum(Fraction(1, 2**n) for n in used) == 1
        mean, entropy = cost(counts, lengths) / sum(counts), entropy_bits(counts)
        assert entropy - 1e-9 <= mean < entropy + 1


@given(st.lists(st.integers(1, 10**6), min_size=40, max_size=60), st.integers(6, 9))
def test_a_binding_limit_still_gives_a_complete_code_and_a_loose_one_costs_nothing(counts, longest):
    lengths = code_lengths(counts, longest=longest)
    assert lengths.max() <= longest and sum(Fraction(1, 2 ** int(n)) for n in lengths) == 1
    free = code_lengths(counts, longest=32)
    assert cost(counts, lengths) >= cost(counts, free)
    assert free.max() > longest or cost(counts, lengths) == cost(counts, free)


def test_fibonacci_counts_make_the_deepest_tree():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    assert code_lengths(fibonacci, longest=32).max() == 29
    assert code_lengths(fibonacci).max() == 16
    symbols = np.repeat(np.arange(22), fibonacci[:22])
    assert decode(encode(symbols)).tolist() == symbols.tolist() == slow_decode(encode(symbols))


def test_the_textbook_example():
    """Cormen, Leiserson, Rivest & Stein, Introduction to Algorithms, 3rd edition, Section 16.3."""
    counts = [45, 13, 12, 16, 9, 5]  # a..f, in thousands
    lengths = code_lengths(counts)
    assert lengths.tolist() == [1, 3, 3, 3, 4, 4] and cost(counts, lengths) == 224
    assert np.isclose(entropy_bits(counts), sum(-c / 100 * np.log2(c / 100) for c in counts))


def test_the_example_of_rfc_1951():
    """Section 3.2.2: A..H with lengths 3 3 3 3 3 2 4 4."""
    codes = canonical_codes([3, 3, 3, 3, 3, 2, 4, 4])
    assert codes.tolist() == [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]


@given(counts_of_any_size)
def test_canonical_codes_as_the_rfc_counts_them(counts):
    lengths = code_lengths(np.array(counts, int))
    assert canonical_codes(lengths).tolist() == canonical_by_counting(lengths.tolist())


def test_impossible_lengths_are_refused():
    with pytest.raises(FormatError, match="1.500 times"):
        canonical_codes([1, 1, 1])
    with pytest.raises(FormatError, match=r"0\.\.32"):
        canonical_codes([1, 40])
    with pytest.raises(ValueError, match="5 symbols"):
        code_lengths([1] * 5, longest=2)
    for bad in ([-1, 2], [0.5, 0.5], [[1, 2]]):
        with pytest.raises(ValueError, match="counts"):
            code_lengths(bad)


symbol_lists = st.one_of(
    st.lists(st.integers(-3, 3), max_size=60),
    st.lists(st.integers(0, 255), max_size=60),
    st.integers(-(2**40), 2**40).flatmap(lambda b: st.lists(st.integers(b, b + 65535), max_size=30)),
    st.tuples(st.integers(-300, 300), st.integers(1, 300)).map(lambda t: [t[0]] * t[1]),
)


@given(symbol_lists)
@example([])
@example([7])
@example([-128, 127])
@settings(max_examples=100)
def test_roundtrip_and_the_slow_decoder_agree(symbols):
    data = encode(np.array(symbols, np.int64))
    assert decode(data).tolist() == symbols == slow_decode(data)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_whole_range_of_small_dtypes(dtype):
    top = min(np.iinfo(dtype).max, 60_000)
    symbols = np.array([[max(np.iinfo(dtype).min, -5_000), top], [0, top]], dtype)
    assert decode(encode(symbols)).tolist() == symbols.reshape(-1).tolist()


def test_many_symbols_come_within_one_percent_of_the_entropy_bound():
    symbols = np.rint(np.random.default_rng(0).normal(0, 10, 200_000)).astype(np.int8)
    data = encode(symbols)
    assert (decode(data) == symbols).all()
    bound = entropy_bits(np.bincount(symbols.astype(int) + 128)) * symbols.size / 8
    assert bound <= len(data) < 1.01 * bound


def test_the_table_is_small():
    rng = np.random.default_rng(1)
    labels = np.concatenate([np.arange(32), np.clip(rng.normal(16, 5, 4000), 0, 31).astype(int)])
    codes = code_lengths(np.bincount(labels)) @ np.bincount(labels) / 8
    assert len(encode(labels)) - codes <= 20  # 32 lengths of 4 bits alone would be 16


def test_one_symbol_costs_no_bits():
    assert len(encode(np.zeros(100_000, int))) == 5
    assert encode(np.zeros(0, int)) == b"\x00"


@given(st.lists(st.integers(0, 9), min_size=2, max_size=30), st.data())
def test_cut_or_lengthened_data_is_refused(symbols, data):
    whole = encode(np.array(symbols))
    for cut in range(len(whole)):
        with pytest.raises(FormatError):
            decode(whole[:cut])
    with pytest.raises(FormatError):
        decode(whole + data.draw(st.binary(min_size=1, max_size=3)))


@given(st.binary(max_size=12))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused_and_never_a_bare_traceback(data):
    if len(data) > 2 and data[0] > 127 and data[1] > 127:
        data = data[:1] + b"\x03" + data[2:]  # one symbol may stand for any count: keep it small here
    try:
        symbols = decode(data)
    except FormatError as error:
        assert "cut short" in str(error)
    else:
        assert symbols.tolist() == slow_decode(data)


@pytest.mark.parametrize("jump", [-3, -2000, 2000])
def test_a_table_with_impossible_lengths_is_refused(jump):
    folded = 2 * jump if jump > 0 else -2 * jump - 1
    unary = "1" + "0" * folded + "11" + "0000"
    bits = unary + "0" * (-len(unary) % 8)
    data = b"\x02\x00\x01" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    with pytest.raises(FormatError, match="table of a Huffman code"):
        decode(data)


def test_bad_symbols_are_refused():
    with pytest.raises(DtypeError, match="float64"):
        encode(np.array([0.5]))
    with pytest.raises(DtypeError, match="uint64"):
        encode(np.array([1], np.uint64))
    with pytest.raises(ValueError, match="np.unique"):
        encode(np.array([0, 65536]))
    with pytest.raises(ValueError, match="2\\^63"):
        encode(np.array([-(2**63)]))
