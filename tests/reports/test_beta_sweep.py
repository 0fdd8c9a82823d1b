"""Sweeps over beta: the line through hand-made points, sweeps that cannot be, and the figures' bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pseudolabel.errors import InputError
from pseudolabel.reports.beta_sweep import BetaSweep, beta_pictures
from pseudolabel.reports.rows import RunResult, rows_of

PRIORS = np.array([0.001, 0.01, 0.1, 0.0])


def run(beta: float | None, ap: list[float], seed: int = 0, row: str | None = None) -> RunResult:
    metrics = {"public": {"map": float(np.nanmean(ap)), "d_prime": 1 + float(np.nanmean(ap))}}
    return RunResult(f"{beta}-{seed}", row or f"beta {beta}", "", seed=seed, beta=beta, metrics=metrics,
                     classes={"public": {"ap": np.array(ap)}})  # fmt: skip


def sweep(*runs: RunResult, priors=PRIORS) -> BetaSweep:
    return BetaSweep.of(rows_of(runs), {"public": "public"}, priors, "training.csv")


def test_the_line_is_through_points_worked_out_by_hand():
    # changes .3, .2, .1 at log10 priors -3, -2, -1: a slope of -.1, and at 0 nothing; a class of no clip has no place.
    found = sweep(run(1, [0.8, 0.6, 0.4, 0.9]), run(0, [0.5, 0.4, 0.3, 0.1])).regression("public")
    assert found["n_classes"] == 3 and found["mean"] == pytest.approx(0.2)
    assert found["slope"] == pytest.approx(-0.1) and found["intercept"] == pytest.approx(0, abs=1e-12)
    assert found["p"] < 1e-6


def test_changes_are_between_means_over_seeds_and_nan_where_a_class_has_no_ap():
    runs = [run(0, [0.5, 0.5, math.nan, 0.1]), run(0, [0.7, 0.3, math.nan, 0.1], 1), run(0.5, [0.1, 0.1, 0.1, 0.1])]
    one = sweep(*runs, run(1, [0.8, 0.6, math.nan, 0.1]))
    np.testing.assert_allclose(one.changes("public"), [0.2, 0.2, math.nan, 0], atol=1e-12)
    found = one.regression("public")
    assert found["n_classes"] == 2 and math.isnan(found["slope"])
    assert "too few classes or priors for a line" in one.summary()


def test_a_line_needs_different_priors():
    one = sweep(run(0, [0.1, 0.2, 0.3, 0.4]), run(1, [0.2, 0.2, 0.4, 0.4]), priors=np.full(4, 0.1))
    assert math.isnan(one.regression("public")["p"])


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([run(0, [0.1])], "needs runs of two exponents or more, has 1"),
        ([run(None, [0.1]), run(None, [0.1], row="b")], "needs runs of two exponents or more, has 0"),
        ([run(0, [0.1]), run(1, [0.1]), run(1, [0.1], row="b")], "rows 'b' and 'beta 1' both have 1"),
        ([run(0, [0.1], row="a"), run(1, [0.1], seed=1, row="a")], "runs of the row 'a' have several: 0, 1"),
    ],
)
def test_sweeps_that_cannot_be_are_refused(runs, message):
    with pytest.raises(InputError, match=message):
        sweep(*runs, priors=PRIORS[:1])


def test_figures_are_of_the_same_bytes_every_time():
    one = sweep(run(0, [0.5, 0.4, 0.3, 0.1]), run(0.3, [0.6, 0.4, 0.4, 0.1]), run(1, [0.8, 0.6, 0.3, 0.9]))
    first, second = beta_pictures(one), beta_pictures(one)
    assert [picture.name for picture in first] == ["betas_map", "betas_d_prime", "betas_classes"]
    assert [picture.png for picture in first] == [picture.png for picture in second]
    assert len({picture.png for picture in first}) == 3
