"""Six sparse layouts against walks over the dense array, their bytes against what they really are."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt.codec import sparse
from tinyopt.codec.sparse import BSR, COO, CSC, CSR, LAYOUTS, Bitmap, RelativeIndex, SparseMatrix, index_type
from tinyopt.errors import DtypeError, FormatError, ShapeError

EXAMPLE = np.array([[0, 7, 0, 0], [5, 0, 0, 3], [0, 0, 0, 0]], np.float32)
TYPES = ["i1", "u2", "i8", "f2", "f4", "f8"]


SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7)


@st.composite
def arrays(draw, dtypes=TYPES):
    """Arrays with many zeros; floats with NaN, infinities and −0.0 among their numbers."""
    dtype, shape = np.dtype(draw(st.sampled_from(dtypes))), draw(SHAPES)
    special = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324] if dtype.kind == "f" else [1]
    numbers = st.one_of(st.just(0), st.just(0), st.integers(0, 9), st.sampled_from(special))
    return draw(hnp.arrays(dtype, shape, elements=numbers.map(lambda n: dtype.type(n))))


def forms(x):
    """The array in every layout, with some choices of settings."""
    yield from (kind.from_dense(x) for kind in LAYOUTS.values())
    yield from (BSR.from_dense(x, block) for block in ((1, 1), (2, 3), (16, 1)))
    yield from (RelativeIndex.from_dense(x, bits) for bits in (1, 3, 16))


@given(arrays())
@example(np.zeros((3, 4), np.float32))
@example(np.ones((3, 4), np.float32))
@example(np.full((5, 3), -0.0))
@example(np.array([[0, 0], [np.nan, 0], [0, 0], [0, -0.0]]))
@example(np.zeros((0, 5)))
@example(np.zeros((5, 0)))
@example(np.eye(300, 2, dtype=np.float32))
@settings(max_examples=40)
def test_every_layout_gives_the_array_back_bit_by_bit_also_through_bytes(x):
    for form in forms(x):
        again = SparseMatrix.from_bytes(form.to_bytes())
        assert type(again) is type(form) and again.to_bytes() == form.to_bytes()
        for back in (form.to_dense(), again.to_dense()):
            assert back.dtype == x.dtype and back.shape == x.shape and back.tobytes() == x.tobytes()
        matrix = x.reshape(sparse.matrix.matrix_shape(x.shape))
        assert form.T.to_dense().tobytes() == matrix.T.tobytes()


def test_the_example_of_the_docstring():
    csr = CSR.from_dense(EXAMPLE)
    assert [csr.values.tolist(), csr.column_of.tolist(), csr.starts.tolist()] == [[7, 5, 3], [1, 0, 3], [0, 1, 3, 3]]
    csc = CSC.from_dense(EXAMPLE)
    assert [csc.values.tolist(), csc.row_of.tolist(), csc.starts.tolist()] == [[5, 7, 3], [1, 0, 1], [0, 1, 2, 2, 3]]
    coo = COO.from_dense(EXAMPLE)
    assert [coo.values.tolist(), coo.row_of.tolist(), coo.column_of.tolist()] == [[7, 5, 3], [0, 1, 1], [1, 0, 3]]
    assert Bitmap.from_dense(EXAMPLE).packed.tolist() == [0b01001001, 0]
    assert RelativeIndex.from_dense(EXAMPLE, 4).packed.tolist() == [0x12, 0x20]
    bsr = BSR.from_dense(EXAMPLE, (1, 2))
    assert [bsr.values.tolist(), bsr.column_of.tolist(), bsr.starts.tolist()] == [
        [[[0, 7]], [[5, 0]], [[0, 3]]], [0, 0, 1], [0, 1, 3, 3],
    ]  # fmt: skip


def test_figure_2_of_deep_compression_has_one_filler_with_a_value_of_zero():
    x = np.zeros(16, np.float32)
    x[[1, 4, 15]] = 3.4, 0.9, 1.7
    form = RelativeIndex.from_dense(x, bits=3)
    assert form.values.tolist() == np.float32([3.4, 0.9, 0, 1.7]).tolist() and form.n_stored == 4
    assert form.positions().tolist() == [1, 4, 12, 15]


@given(arrays(["f4"]), st.integers(1, 16))
def test_relative_index_as_one_meets_it_walking(x, bits):
    symbols, values, zeros = [], [], 0
    last = max((i for i, v in enumerate(x.ravel()) if v != 0 or np.signbit(v)), default=-1)
    for value in x.ravel()[: last + 1]:
        if value == 0 and not np.signbit(value) and zeros < 2**bits - 1:
            zeros += 1
            continue
        symbols, values, zeros = [*symbols, zeros], [*values, value], 0
    form = RelativeIndex.from_dense(x, bits)
    gaps = np.diff(form.positions(), prepend=-1) - 1
    assert gaps.tolist() == symbols and form.values.tobytes() == np.array(values, x.dtype).tobytes()
    assert RelativeIndex.from_dense(x).nbytes <= form.nbytes + 1  # the best bits, but for a last byte's filling


def test_indices_are_as_narrow_as_the_shape_allows():
    assert [index_type(n).itemsize for n in (0, 1, 256, 257, 65536, 65537)] == [1, 1, 1, 2, 2, 4]
    x = np.zeros((300, 784), np.float32)
    x[5, 783] = 1
    assert (COO.from_dense(x).row_of.dtype, COO.from_dense(x).column_of.dtype) == (np.uint16, np.uint16)
    assert CSR.from_dense(x).nbytes == 4 + 2 + 301 * 4 and COO.from_dense(x).nbytes == 4 + 2 + 2
    assert CSR.from_dense(np.eye(200, 256, dtype="f4")).column_of.dtype == np.uint8


@given(arrays())
@settings(max_examples=10)
def test_nbytes_are_the_bytes_of_the_arrays_and_the_header_is_small(x):
    for form in forms(x):
        arrays_in_it = [vars(form)[name] for name in form.fields]
        assert form.nbytes == sum(len(array.tobytes()) for array in arrays_in_it)
        assert 4 <= len(form.to_bytes()) - form.nbytes <= 2 + 1 + 2 * x.ndim + 6
        assert not any(array.flags.writeable for array in arrays_in_it)


@given(st.integers(1, 40), st.integers(1, 400), st.sampled_from(["f4", "i1", "f8"]), st.floats(0, 1))
def test_the_straight_lines_are_the_bytes_exactly(m, k, dtype, density):
    x = (np.random.default_rng(0).random((m, k)) < density).astype(dtype)
    for layout in ("COO", "CSR", "CSC", "Bitmap"):
        fixed, each = sparse.sizes.straight_line(layout, x.shape, dtype)
        assert fixed + each * np.count_nonzero(x) == LAYOUTS[layout].from_dense(x).nbytes
    assert sparse.sizes.straight_line("dense", x.shape, dtype) == (x.nbytes, 0)


@pytest.mark.parametrize("density", [0.003, 0.03, 0.3, 1.0])
def test_expected_bytes_of_random_patterns_are_near_the_real_ones(density):
    x = (np.random.default_rng(1).random((300, 784)) < density).astype(np.float32)
    for layout, settings_ in (("BSR", {"block": (4, 4)}), ("BSR", {"block": (4, 8)}), ("RelativeIndex", {"bits": 5}),
                              ("RelativeIndex", {}), ("CSR", {})):  # fmt: skip
        real = LAYOUTS[layout].from_dense(x, *settings_.values()).nbytes
        assert sparse.expected_bytes(layout, x.shape, density, **settings_) == pytest.approx(real, rel=0.04)


def test_cross_overs_are_where_the_algebra_puts_them():
    shape = (300, 784)
    assert sparse.cross_over("dense", "Bitmap", shape) == pytest.approx(1 - 1 / 32)
    assert sparse.cross_over("dense", "COO", shape) == pytest.approx(1 / 2)
    assert sparse.cross_over("dense", "CSR", shape) == pytest.approx((4 - 1204 / 235200) / 6)
    assert sparse.cross_over("CSR", "Bitmap", shape) == pytest.approx((1 / 8 - 1204 / 235200) / 2)
    assert sparse.cross_over("COO", "CSR", shape) == pytest.approx(1204 / 2 / 235200)
    assert sparse.cross_over("COO", "dense", shape, "i1") == pytest.approx(1 / 5)
    assert sparse.cross_over("CSC", "CSR", (100, 200)) is None
    relative = sparse.cross_over("RelativeIndex", "Bitmap", shape, bits=5)

    def real(d):
        return d / (1 - (1 - d) ** 32) * (4 + 5 / 8) - (4 * d + 1 / 8)

    assert real(relative * 0.99) * real(relative * 1.01) < 0 and real(relative) == pytest.approx(0, abs=1e-9)
    assert sparse.cross_over("RelativeIndex", "COO", shape) < 10 / 235200  # fillers cost more for a handful of values



V = np.float32([1, 2])
WRONG = [
    (lambda: COO(V, [0, 0], [1, 1], (2, 3)), ValueError, "COO names each place once; value 1 repeats"),
    (lambda: COO(V, [0, 2], [1, 1], (2, 3)), ValueError, r"row_of must lie in 0\.\.1; got 0\.\.2"),
    (lambda: COO(V, [0, 1], [1, -1], (2, 3)), ValueError, r"column_of must lie in 0\.\.2; got -1\.\.1"),
    (lambda: COO(V, [0, 1], [1, 3], (2, 3)), ValueError, r"column_of must lie in 0\.\.2; got 1\.\.3"),
    (lambda: COO(V, [0, 1], [1.0, 2.0], (2, 3)), DtypeError, "column_of are integers; got float64"),
    (lambda: COO(V, [0, 1], [1], (2, 3)), ShapeError, r"needs column_of of shape \(2,\); got \(1,\)"),
    (lambda: COO(V, [0, 1], [1, 2], ()), ShapeError, "one axis or more"),
    (lambda: COO(np.array(["a"]), [0], [0], (1, 1)), DtypeError, "integers and floats"),
    (lambda: CSR(V, [1, 1], [0, 2, 2], (2, 3)), ValueError, "CSR names each column in a row once"),
    (lambda: CSR(V, [2, 1], [0, 2, 2], (2, 3)), ValueError, "CSR needs each column in a row above.*COO sorts"),
    (lambda: CSR(V, [1, 3], [0, 2, 2], (2, 3)), ValueError, r"column_of must lie in 0\.\.2"),
    (lambda: CSR(V, [1, 2], [0, 2, 1], (2, 3)), ValueError, "starts run from 0 to 2"),
    (lambda: CSR(V, [1, 2], [0, 2, 0, 2], (3, 3)), ValueError, "never fall"),
    (lambda: CSR(V, [1, 2], [1, 2, 2], (2, 3)), ValueError, "starts run from 0 to 2"),
    (lambda: CSR(V, [1, 2], [0, 2], (2, 3)), ShapeError, r"starts of shape \(3,\)"),
    (lambda: CSC(V, [1, 1], [0, 2, 2, 2], (2, 3)), ValueError, "CSC names each row in a column once"),
    (lambda: CSC(V, [0, 2], [0, 1, 2, 2], (2, 3)), ValueError, r"row_of must lie in 0\.\.1"),
    (lambda: BSR(np.ones((2, 2, 2)), [0, 0], [0, 2], 2, 2, (2, 4)), ValueError, "BSR names each column of blocks"),
    (lambda: BSR(np.ones((1, 1, 4)), [300], [0, 1], 1, 4, (1, 1000)), ValueError, r"column_of must lie in 0\.\.25"),
    (lambda: BSR(np.ones((1, 2, 2)), [1], [0, 1], 2, 2, (2, 3)), ValueError, "beyond the 2×3 matrix"),
    (lambda: BSR(np.ones((1, 2, 2)), [0], [0, 1], 2, 2, (1, 4)), ValueError, "beyond the 1×4 matrix"),
    (lambda: BSR.from_dense(EXAMPLE, (0, 2)), ValueError, "a block has 1 row"),
    (lambda: Bitmap(V, [0b00100000], (2, 2)), ValueError, "a 1 for each value"),
    (lambda: Bitmap(V, [0b00001100], (2, 2)), ValueError, "inside the array"),
    (lambda: Bitmap(V[:1], [0b00001000], (2, 2)), ValueError, "inside the array"),
    (lambda: RelativeIndex(V, [0x06], 4, (1, 7)), ValueError, "lead to element 7 of an array of 7"),
    (lambda: RelativeIndex(V, [0x0F], 4, (1, 8)), ValueError, "lead to element 16 of an array of 8"),
    (lambda: RelativeIndex.from_dense(EXAMPLE, 17), ValueError, r"1\.\.16 bits; got 17"),
    (lambda: CSR.from_dense(np.float32(3)), ShapeError, "single number"),
    (lambda: CSR.from_dense(np.ones(2, complex)), DtypeError, "complex128"),
    (lambda: CSR.from_dense(EXAMPLE) @ np.ones((3, 2)), ShapeError, r"dense \(4, k\) or \(4,\); got \(3, 2\)"),
    (lambda: np.ones((2, 4)) @ CSR.from_dense(EXAMPLE), ShapeError, r"dense \(k, 3\) or \(3,\); got \(2, 4\)"),
    (lambda: CSR.from_dense(EXAMPLE) @ np.ones(4, int), DtypeError, "products are of floats"),
    (lambda: sparse.sizes.straight_line("BSR", (3, 4)), KeyError, "BSR"),
]


@pytest.mark.parametrize("attempt, error, sentence", WRONG)
def test_what_is_no_sparse_array_is_refused_in_one_sentence(attempt, error, sentence):
    with pytest.raises(error, match=sentence):
        attempt()


def test_coo_sorts_what_comes_in_any_order():
    coo = COO([3.0, 5, 7], [1, 1, 0], [3, 0, 1], (3, 4))
    assert (coo.to_dense() == EXAMPLE).all() and coo.values.tolist() == [7, 5, 3]


def test_what_it_was_made_from_may_change_afterwards():
    values, columns = np.ones(2, np.float32), np.array([0, 1])
    form = CSR(values, columns, [0, 2], (1, 2))
    values[0], columns[1] = 9, 0
    assert form.to_dense().tolist() == [[1, 1]]


@given(st.sampled_from(list(forms(EXAMPLE))), st.data())
@settings(max_examples=100)
def test_damaged_bytes_are_refused_or_are_another_array(form, data):
    whole = form.to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    for damaged in (whole[:at], whole + b"\0", changed):
        try:
            again = SparseMatrix.from_bytes(damaged)
        except FormatError:
            continue
        assert damaged == changed and again.to_bytes() == changed and len(again.shape) <= 32


def test_no_bytes_and_foreign_bytes_are_refused():
    for data in (b"", b"\x00\x00", b"\x02\x63\x01\x01", b"\x02\x09\x00\x00", b"\x02\x09\x21" + bytes(40)):
        with pytest.raises(FormatError, match="no sparse array"):
            SparseMatrix.from_bytes(data)


def test_its_repr_says_what_it_costs():
    assert repr(CSR.from_dense(EXAMPLE)) == "CSR((3, 4), float32, 3 stored (25.0%), 19 bytes)"
