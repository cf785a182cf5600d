"""Sparse products against NumPy's dense ones."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinyopt.codec.sparse import BSR, COO, CSR, LAYOUTS, products

cases = st.tuples(
    st.integers(0, 12), st.integers(0, 12), st.integers(0, 5), st.sampled_from([0, 0.1, 0.5, 1]), st.integers(0, 99)
)


def forms(x):
    yield from (kind.from_dense(x) for kind in LAYOUTS.values())
    yield from (BSR.from_dense(x, block) for block in ((1, 1), (3, 2)))


def draw(m, k, density, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(m, k)) * (rng.random((m, k)) < density) + 0.0).astype(dtype)  # −0.0 would be stored


@given(cases)
@example((3, 4, 1, 0, 0))
@example((3, 4, 0, 1, 0))
@example((40, 30, 1, 0.02, 0))  # most rows are empty, the last ones too
@example((40, 30, 3, 0.02, 0))
@settings(max_examples=30)
def test_products_from_both_sides_agree_with_dense_ones(case):
    m, k, n, density, seed = case
    s = draw(m, k, density, seed)
    right, left = draw(k, n, 1, seed + 1), draw(n, m, 1, seed + 2)
    for form in forms(s):
        pairs = [(form @ right, s @ right), (left @ form, left @ s), (form @ right.T.copy().T, s @ right)]
        pairs += [(form @ right[:, 0], s @ right[:, 0]), (left[0] @ form, left[0] @ s)] if n else []
        for got, expected in pairs:
            assert np.shape(got) == np.shape(expected)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_groups_of_rows_that_gather_little_at_a_time_give_the_same(monkeypatch):
    s, x = draw(50, 40, 0.3, 0), draw(40, 6, 1, 1)
    s[7], s[11] = 1.0, 0.0  # one row full, one empty
    whole = [form @ x for form in forms(s)]
    monkeypatch.setattr(products, "GATHERED", 32)
    assert len(products.row_groups(s[s != 0][:, None, None], *_csr(s), 6)) > 40
    for form, expected in zip(forms(s), whole):
        np.testing.assert_allclose(form @ x, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(form @ x, s @ x, rtol=0, atol=1e-12)


def _csr(s):
    form = CSR.from_dense(s)
    return form.column_of, form.starts


@pytest.mark.parametrize("types", [("f4", "f4", "f4"), ("f4", "f8", "f8"), ("f8", "f4", "f8"), ("f2", "f2", "f2")])
def test_the_type_of_a_product_is_numpys(types):
    one, other, due = types
    for density in (0, 0.5):
        for form in forms(draw(5, 4, density, 0, one)):
            for product in (form @ np.ones((4, 3), other), form @ np.ones(4, other), np.ones((3, 5), other) @ form):
                assert product.dtype == due


def test_a_product_is_the_same_to_the_bit_each_time_and_for_any_width_before():
    s, x = draw(30, 20, 0.3, 0, np.float32), draw(20, 8, 1, 1, np.float32)
    for form, fresh in zip(forms(s), forms(s)):
        first = form @ x
        form @ x[:, :3]
        assert (form @ x).tobytes() == first.tobytes() == (fresh @ x).tobytes()


def test_nan_of_the_dense_factor_stays_in_the_rows_that_read_it():
    s = np.array([[1.0, 0, 2], [0, 3, 0], [0, 0, 0], [1, 1, 1]])
    x = np.ones((3, 2))
    x[1, 0] = np.nan
    for form in forms(s):
        if not isinstance(form, BSR) or form.block_rows == 1:
            assert np.isnan(form @ x).tolist() == [[False] * 2, [True, False], [False] * 2, [True, False]]
            assert np.isnan(form @ x[:, 0]).tolist() == [False, True, False, True]
    assert np.isnan(COO.from_dense(np.array([[np.nan, 0]])) @ np.ones(2)).all()


def test_adding_up_an_empty_row_with_reduceat_alone_would_be_wrong():
    """The trap that `csr_times_vector` steps around: reduceat of nothing is the next value."""
    assert np.add.reduceat(np.array([5.0, 7.0]), [0, 1, 1]).tolist() == [5, 7, 7]
    empty_middle = CSR([5.0, 7.0], [0, 0], [0, 1, 1, 2], (3, 1))
    assert (empty_middle @ np.ones(1)).tolist() == [5, 0, 7]
