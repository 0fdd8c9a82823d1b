"""Options of training: the course of the learning rate by hand, and combinations that are refused."""

from __future__ import annotations

import math

import pytest

from pseudolabel.errors import InputError
from pseudolabel.training.options import Schedule, TrainOptions


def test_cosine_falls_from_one_to_nearly_zero():
    factors = [Schedule("cosine").factor(step, 4) for step in range(4)]
    assert factors == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])


def test_warm_up_climbs_linearly_and_cosine_begins_after_it():
    factors = [Schedule("cosine", warmup_steps=3).factor(step, 7) for step in range(7)]
    assert factors[:3] == pytest.approx([1 / 4, 2 / 4, 3 / 4])
    assert factors[3] == 1 and factors[5] == pytest.approx(0.5)


def test_warm_up_of_psla_climbs_every_fifty_steps_from_nothing():
    schedule = Schedule("constant", warmup_steps=1000, warmup_every=50)
    rates = [schedule.factor(step, 5000) for step in range(1200)]
    assert rates == pytest.approx([step // 50 * 50 / 1000 for step in range(1000)] + [1.0] * 200)


def test_halving_begins_after_60_percent_and_comes_every_tenth_of_the_way_from_there():
    schedule = Schedule("halving")
    factors = {step: schedule.factor(step, 1000) for step in (0, 599, 601, 699, 701, 801, 901, 999)}
    assert factors == {0: 1, 599: 1, 601: 0.5, 699: 0.5, 701: 0.25, 801: 0.125, 901: 0.0625, 999: 0.0625}


def test_halving_at_the_epochs_of_psla():
    schedule = Schedule("halving", halve_after=35, halve_every=5)
    rates = [schedule.factor(epoch * 10, 600, 10) for epoch in range(60)]
    assert rates == [1] * 35 + [1 / 2] * 5 + [1 / 4] * 5 + [1 / 8] * 5 + [1 / 16] * 5 + [1 / 32] * 5


def test_constant_stays():
    assert {Schedule("constant").factor(step, 10) for step in range(10)} == {1.0}


@pytest.mark.parametrize("kind", ["constant", "cosine", "halving"])
def test_no_step_has_a_rate_above_the_full_one_or_none_at_all(kind):
    for n_steps in (1, 2, 13):
        for warmup in (0, 5, 40):
            factors = [Schedule(kind, warmup_steps=warmup).factor(step, n_steps) for step in range(n_steps)]
            assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("smooth", [0, 2, -1])
def test_an_average_without_a_centre_is_refused(smooth):
    with pytest.raises(InputError, match="smooth"):
        TrainOptions(select="best", smooth=smooth)
