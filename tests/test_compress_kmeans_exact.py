"""k-means on a line: the optimum against all ways to cut, the starts against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt import compress
from tinyopt.compress.kmeans_exact import compare_starts, exact_kmeans, lloyd, squared_error
from tinyopt.compress.kmeans_starts import START, plus_plus

WEIGHTS = np.random.default_rng(0).laplace(size=3000).astype("f4")  # few large ones, as a trained layer has
quarters = hnp.arrays(np.float64, st.integers(1, 11), elements=st.integers(-20, 20).map(lambda i: i / 4))


def all_cuts(values, k):
    """The smallest error of at most k pieces of the sorted numbers, one way to cut after the other."""
    x = np.sort(values)
    cuts = itertools.combinations(range(1, len(x)), min(k, len(x)) - 1)
    return min(sum(((p - p.mean()) ** 2).sum() for p in np.split(x, cut)) for cut in cuts)


def quadratic(values, k):
    """The same dynamic programme without the bounds on i, with each cost summed anew."""
    x = np.sort(values)
    cost = {(i, j): ((x[i:j] - x[i:j].mean()) ** 2).sum() for j in range(1, len(x) + 1) for i in range(j)}
    row = [0.0, *(cost[0, j] for j in range(1, len(x) + 1))]
    for _ in range(k - 1):
        row = [0.0, *(min(row[i] + cost[i, j] for i in range(j)) for j in range(1, len(x) + 1))]
    return row[-1]


# --- the optimum ----------------------------------------------------------------------------------------


@given(values=quarters, k=st.integers(1, 5), far=st.sampled_from([0, 1e6]), dtype=st.sampled_from(["f4", "f8"]))
def test_no_way_to_cut_the_numbers_is_better(values, k, far, dtype):
    values = (values + far * (dtype == "f8")).astype(dtype)
    centroids, labels = exact_kmeans(values, k)
    assert centroids.dtype == values.dtype and len(centroids) == min(k, len(np.unique(values)))
    assert (np.diff(centroids) > 0).all() and set(labels) == set(range(len(centroids)))
    means = [values[labels == j].mean() for j in range(len(centroids))]
    np.testing.assert_allclose(centroids, means, rtol=1e-6, atol=1e-6)
    assert squared_error(values, centroids, labels) == pytest.approx(all_cuts(values.astype("f8"), k), abs=1e-5)


@pytest.mark.parametrize("k", [2, 3, 7, 20])
def test_bounding_the_search_loses_nothing(k):
    for seed in range(3):
        values = np.random.default_rng(seed).standard_t(3, size=60)
        assert squared_error(values, *exact_kmeans(values, k)) == pytest.approx(quadratic(values, k), rel=1e-9)


def test_numbers_of_any_size_and_numbers_that_repeat():
    values = np.array([1.0, 1.0, 1.0, 4.0, 5.0, 9.0])
    for scale in (1e-200, 1e-3, 1e200):
        centroids, labels = exact_kmeans(values * scale, 3)
        np.testing.assert_allclose(centroids, np.array([1, 4.5, 9]) * scale)
        assert labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert exact_kmeans(np.array([2.0, 2.0, 2.0, 3.0]), 1)[0].tolist() == [2.25]  # repeated numbers weigh more
    assert exact_kmeans(np.zeros(4), 3)[0].tolist() == [0]
    assert exact_kmeans(np.array([3.0, 1.0, 2.0]), 9)[1].tolist() == [2, 0, 1]


# --- Lloyd, from any start ------------------------------------------------------------------------------


@given(values=quarters, k=st.integers(1, 5), start=st.sampled_from([*START]), seed=st.integers(0, 99))
def test_lloyd_is_never_below_the_optimum_and_leaves_no_cluster_empty(values, k, start, seed):
    first = START[start](np.sort(values), k, seed)
    centroids, labels, steps = lloyd(values, first)
    assert 1 <= len(first) <= k and (np.diff(first) >= 0).all() and 1 <= steps <= 100
    assert len(centroids) == min(len(np.unique(first)), len(np.unique(values)))
    assert set(labels) == set(range(len(centroids)))
    assert squared_error(values, centroids, labels) >= all_cuts(values, k) - 1e-9
    distances = abs(values[:, None] - centroids)
    assert np.allclose(distances[np.arange(len(values)), labels], distances.min(axis=1))
    assert np.allclose(centroids, [values[labels == j].mean() for j in range(len(centroids))])


def test_an_empty_cluster_is_used_again_where_dropping_it_would_waste_a_label():
    values = np.array([0.0, 0.1, 0.2, 0.3, 10.0])
    dropped, _ = compress.kmeans(values, 3)  # from 0, 5, 10: nothing is nearest to 5
    centroids, labels, _ = lloyd(values, np.array([0.0, 5.0, 10.0]))
    assert len(dropped) == 2 and centroids == pytest.approx([0, 0.2, 10]) and labels.tolist() == [0, 1, 1, 1, 2]
    assert squared_error(values, centroids, labels) == pytest.approx(0.02)  # a valley; 0.05 and 0.25 would give 0.01
    far, labels, _ = lloyd(values, np.array([1e3, 2e3, 3e3]))
    assert len(far) == 3 and squared_error(values, far, labels) < 0.0201


@given(values=quarters, first=hnp.arrays(np.float64, st.integers(1, 5), elements=st.integers(-25, 25), unique=True))
def test_more_steps_never_make_it_worse(values, first):
    errors = [squared_error(values, *lloyd(values, first, max_steps=n)[:2]) for n in range(1, 7)]
    assert all(later <= sooner + 1e-9 for sooner, later in itertools.pairwise(errors))


# --- the starts -----------------------------------------------------------------------------------------


def test_starts_by_hand():
    x = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 8.0])
    assert START["linear"](x, 5).tolist() == [0, 2, 4, 6, 8]
    assert START["density"](x, 3) == pytest.approx([0, 0.5, 3])  # quantiles 1/6, 1/2, 5/6 lie at 0.83, 2.5, 4.17
    assert START["random"](x, 4, 0).tolist() == [0, 1, 2, 8]


def test_plus_plus_draws_by_the_squared_distance():
    x = np.array([0.0, 1.0, 3.0])
    drawn = [tuple(plus_plus(x, 2, rng)) for rng in [np.random.default_rng(5)] for _ in range(4000)]
    shares = [drawn.count(pair) / 4000 for pair in ((0, 1), (0, 3), (1, 3))]
    # from 0: 1 of 10 goes to 1, 9 to 3; from 1: 1 of 5 to 0, 4 to 3; from 3: 9 of 13 to 0, 4 to 1
    due = [(1 / 10 + 1 / 5) / 3, (9 / 10 + 9 / 13) / 3, (4 / 5 + 4 / 13) / 3]
    np.testing.assert_allclose(shares, due, atol=0.03)


def test_plus_plus_keeps_its_promise_on_average():
    x = np.sort(WEIGHTS.astype("f8"))
    best = squared_error(x, *exact_kmeans(x, 8))
    errors = [((x[:, None] - plus_plus(x, 8, seed)) ** 2).min(axis=1).sum() for seed in range(20)]
    assert best < np.mean(errors) < 8 * (np.log(8) + 2) * best


def test_the_table_says_how_far_each_start_ends_from_the_best():
    rows = compare_starts(WEIGHTS, 16, seeds=3)
    assert [row["start"] for row in rows].count("k-means++") == 3 and rows[-1]["start"] == "exact"
    assert len(rows) == 1 + 1 + 3 + 3 + 1
    assert all(1 - 1e-9 <= row["after"] <= row["before"] for row in rows)
    assert all(row["clusters"] == 16 for row in rows)
    best = squared_error(WEIGHTS.astype("f8"), *exact_kmeans(WEIGHTS.astype("f8"), 16))
    first = START["linear"](np.sort(WEIGHTS).astype("f8"), 16)
    due = ((WEIGHTS[:, None] - first) ** 2).min(axis=1).sum() / best
    assert rows[0]["before"] == pytest.approx(due)
    assert compare_starts(np.arange(3.0), 9, seeds=1)[0]["after"] == 1


@pytest.mark.parametrize(
    "attempt, sentence",
    [
        (lambda: exact_kmeans(np.ones((2, 2)), 2), r"row of finite numbers.*\(2, 2\)"),
        (lambda: exact_kmeans(np.array([np.inf]), 2), "finite"),
        (lambda: exact_kmeans(np.ones(0), 2), "at least one"),
        (lambda: exact_kmeans(np.ones(3), 0), "1 or more; got 0"),
        (lambda: exact_kmeans(np.ones(3), 1.5), "1 or more; got 1.5"),
        (lambda: lloyd(np.ones(3), np.ones(0)), "1 or more; got 0"),
        (lambda: compare_starts(np.ones(3), 2, seeds=0), "1 or more; got 0"),
    ],
)
def test_what_cannot_be_clustered_is_refused_in_a_sentence(attempt, sentence):
    with pytest.raises(ValueError, match=sentence):
        attempt()
