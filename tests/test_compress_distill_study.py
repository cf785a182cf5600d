"""The statistics of the study of distillation: tables of t, Holm's example by hand, verdicts on made-up runs."""

import importlib.util
import pathlib

import numpy as np
import pytest


@pytest.fixture(scope="module")
def study():
    path = pathlib.Path(__file__).parent / "benchmarks" / "distillation.py"
    spec = importlib.util.spec_from_file_location("distillation_study", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("n, t, p", [(2, 12.7062, 0.05), (5, 2.77645, 0.05), (5, 4.60409, 0.01), (10, 2.26216, 0.05)])
def test_the_paired_t_test_agrees_with_the_printed_tables(n, t, p, study):
    d = np.arange(n, dtype=float)
    d += t * d.std(ddof=1) / np.sqrt(n) - d.mean()  # now mean / (s / √n) = t
    assert study.paired_t(d) == pytest.approx(p, rel=1e-4)
    assert study.paired_t(-d) == pytest.approx(study.paired_t(d))
    assert study.paired_t(d - d.mean()) == pytest.approx(1)
    assert study.paired_t([0.0] * n) == 1 and study.paired_t([0.25] * n) == 0


def test_holms_correction_by_hand(study):
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04, and none below the one before it
    np.testing.assert_allclose(study.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert study.holm([0.6, 0.7]) == [1, 1] and study.holm([]) == []


def test_the_table_says_what_helps_what_hurts_and_what_was_not_seen(study):
    rng = np.random.default_rng(0)
    base = {seed: rng.random(400) < 0.7 for seed in range(6)}

    def moved(share, towards):
        return {seed: np.where(rng.random(400) < share, towards, hits) for seed, hits in base.items()}

    luck = {seed: hits ^ (rng.random(400) < 0.02) ^ (rng.random(400) < 0.02) for seed, hits in base.items()}
    right = {study.ALONE: base, "soft targets": moved(0.3, True), "logits": moved(0.2, False), "attention": luck}
    right |= {"born again, third generation": dict(base)}
    text = study.table(right).splitlines()
    ends = {name: next(line for line in text if line.startswith(name)) for name in right}
    assert ends["soft targets"].endswith("helps") and ends["logits"].endswith("hurts")
    assert ends["born again, third generation"].endswith("no difference seen") and ends[study.ALONE].endswith("–")
    one_seed = {name: {0: runs[0]} for name, runs in right.items()}  # no spread, no verdict
    assert "helps" not in study.table(one_seed) and "difference seen" not in study.table(one_seed)


def test_a_method_of_fine_tuning_is_compared_with_itself_on_the_labels(study):
    low, high = np.zeros(200, bool), np.ones(200, bool)
    runs = {study.ALONE: low, "pruned 95 %, labels": high, "pruned 95 %, taught": high}
    text = study.table({name: dict.fromkeys(range(3), hits) for name, hits in runs.items()})
    assert text.splitlines()[-1].endswith("no difference seen") and "helps" not in text
