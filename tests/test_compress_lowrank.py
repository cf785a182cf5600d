"""Ranks that save, and sweeps over ranks and energies: against counting, eigenvalues and the saved file."""

import copy
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinyopt
from tinyopt import compress, models, nn
from tinyopt.compress.lowrank import energy_sweep, largest_saving_rank, rank_sweep

matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.floats(-3, 3))


@given(m=st.integers(1, 40), n=st.integers(1, 40))
def test_the_largest_rank_that_saves_is_found_by_counting(m, n):
    saving = [r for r in range(m * n + 1) if r * (m + n) < m * n]
    assert largest_saving_rank((m, n)) == max(saving)


@given(matrix=matrices)
def test_a_sweep_says_the_error_that_the_factors_make(matrix):
    cuts = rank_sweep(matrix)
    assert [cut.rank for cut in cuts] == list(range(1, min(matrix.shape) + 1))
    eigenvalues = np.sort(np.linalg.eigvalsh(matrix @ matrix.T))[::-1]  # σ², by another way
    for cut in cuts:
        up, down = compress.truncated_svd(matrix, cut.rank)
        assert np.isclose(cut.squared_error, ((matrix - up @ down) ** 2).sum(), atol=1e-8)
        assert np.isclose(cut.squared_error, max(0.0, eigenvalues[cut.rank :].sum()), atol=1e-8)
        assert cut.parameters == cut.macs == up.size + down.size
    assert cuts[-1].energy == 1 and cuts[-1].squared_error == 0


def test_a_sweep_of_chosen_ranks_on_numbers_of_paper():
    cuts = rank_sweep(np.diag([1.0, 3.0, 2.0]), [3, 1])
    assert [(cut.rank, cut.parameters) for cut in cuts] == [(3, 18), (1, 6)]
    assert np.allclose([(cut.energy, cut.squared_error) for cut in cuts], [(1, 0), (9 / 14, 5)])
    assert rank_sweep(np.zeros((2, 3)), [1])[0].energy == 1


def test_the_error_of_a_long_tail_in_float32_is_not_lost_beside_a_large_first_value():
    matrix = np.diag(np.array([1e4, *[1.0] * 50], dtype=np.float32))
    assert np.isclose(rank_sweep(matrix, [1])[0].squared_error, 50, rtol=1e-6)


@pytest.mark.parametrize("ranks", [[0], [4], [1.5], [-1], [True], ["2"]])
def test_ranks_that_a_matrix_cannot_have_are_refused(ranks):
    with pytest.raises(ValueError, match=r"1..3 for a matrix \(3, 5\)"):
        rank_sweep(np.ones((3, 5)), ranks)


def test_a_matrix_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="holds NaN"):
        rank_sweep(np.full((2, 2), np.nan))


def test_a_sweep_over_energies_says_what_factorize_would_do(tmp_path):
    model = models.lenet_300_100(image_size=8, rng=0)
    before = copy.deepcopy(model.state_dict())
    cuts = energy_sweep(model, [0.3, 0.6], (1, 8, 8))
    for cut in cuts:
        thin = copy.deepcopy(model)
        assert compress.factorize(thin, energy=cut.energy) == cut.rank
        assert cut.parameters == sum(p.size for p in thin.parameters())
        biases = sum(p.size for name, p in thin.named_parameters() if name.endswith("bias"))
        assert cut.macs == cut.parameters - biases  # dense layers: one product for each weight
        errors = [
            ((model.get(name).weight.data - thin.get(name).up.data @ thin.get(name).down.data) ** 2).sum()
            for name in cut.rank
        ]
        assert np.isclose(cut.squared_error, sum(errors), rtol=1e-4)
        tinyopt.save(thin, tmp_path / "thin")
        assert 0 <= os.path.getsize(tmp_path / "thin") - 4 * cut.parameters < 2000  # a header, no more
    assert cuts[0].parameters < cuts[1].parameters and cuts[0].squared_error > cuts[1].squared_error
    assert all((model.state_dict()[name] == value).all() for name, value in before.items())


def test_a_rank_that_saves_nothing_is_refused_with_the_numbers():
    square = nn.Sequential(fc=nn.Linear(4, 4, rng=0))
    with pytest.raises(ValueError, match="rank 2 would stay at 16 numbers; use a rank of 1 or less"):
        compress.factorize(square, {"fc": 2})  # 2 · (4 + 4) is 16: as many as before
    with pytest.raises(ValueError, match="rank 3 would grow from 16 to 24 numbers; use a rank of 1 or less"):
        compress.factorize(square, {"fc": 3})
    with pytest.raises(ValueError, match="too thin"):
        compress.factorize(nn.Sequential(fc=nn.Linear(5, 1, rng=0)), {"fc": 1})
    assert compress.factorize(square, 2) == {} and type(square.get("fc")) is nn.Linear


def test_what_is_no_rank_or_no_energy_and_a_model_without_layers_are_refused():
    model = nn.Sequential(fc=nn.Linear(8, 8, rng=0))
    for rank in (0, -1, True, 1.5, "2", float("nan")):
        for given_as in (rank, {"fc": rank}):
            with pytest.raises(ValueError, match=r"in 1..8 for a matrix \(8, 8\); got"):
                compress.factorize(model, given_as)
    for energy in (0, 1.01, -1, True, "all", float("nan")):
        with pytest.raises(ValueError, match=r"share of Σ σ² to keep, in \(0, 1\]; got"):
            compress.factorize(model, energy=energy)
    with pytest.raises(ValueError, match="replaces Linear layers: this model has none"):
        compress.factorize(nn.Sequential(nn.ReLU()), 3)
    assert type(model.get("fc")) is nn.Linear
