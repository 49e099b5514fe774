"""Plans: the lowest of a grid, within their limits, and silent where the noise is not known."""

import numpy as np
import pytest

from scalingeq import ParameterError
from scalingeq.inference import twopoint
from scalingeq.inference.planning import Limits, Planner, is_noise_identified, planned_schedule
from scalingeq.inference.twopoint_frontier import frontier
from scalingeq.theory import PowerLaw, largest_learning_rate, scheduled_loss

LAW = twopoint.complete(
    dict(alpha=1.5, r=0.3, scale=2.0, irreducible=0.5, unlearnable=0.4, unlearnable_exponent=0.4, width_scale=60.0,
         width_exponent=0.6, time_scale=10.0, noise_scale=2000.0)
)  # fmt: skip
LIMITS = Limits((1e-3, 1e-2), (100.0, 1e5))


def planner(law=LAW, limits=LIMITS, compute=1e17, **more):
    return Planner(law, None, compute, 1e4, limits, **more)


def theory(params, rate, batch, height, compute=1e17, knots=257):
    """Loss at the end of a run whose rate is ``height(share of the run)``, in the theory's own units."""
    steps, share = compute / 6 / params / batch, np.linspace(0, 1, knots)
    schedule = planned_schedule("constant", 1.0, 1.0, steps)
    schedule = type(schedule)(steps * share, 10.0 * rate * height(share), 2000.0 * rate * height(share) / batch)
    noise = (0.5 + 0.4 * (params / 1e4) ** -0.4) / 2.0
    width = 60.0 * (params / 1e4) ** 0.6
    return 2.0 * scheduled_loss([steps], schedule, PowerLaw(1.5, 0.3), width=width, noise_variance=noise)[0]


@pytest.mark.parametrize(
    ("shape", "height"),
    [("linear", lambda x: 1 - x), ("cosine", lambda x: (1 + np.cos(np.pi * x)) / 2), ("constant", lambda x: 1 + 0 * x)],
)
def test_a_plan_is_the_lowest_around_it(shape, height):
    best = planner().best(shape)
    assert best.loss == pytest.approx(theory(best.params, best.learning_rate, best.batch_size, height), rel=1e-4)
    for size in (0.7, 1.0, 1.4):
        for batch in (0.6, 1.0, 1.7):
            other = theory(best.params * size, best.learning_rate, best.batch_size * batch, height)
            assert best.loss <= other * (1 + 1e-4)


def test_the_decay_of_wsd_is_the_best():
    best = planner(limits=Limits((1e-2, 1e-2), (1e3, 1e3))).best("wsd")
    for decay in np.clip(best.decay * np.array([0.5, 0.75, 1.3]), 0.02, 0.9):
        rival = theory(best.params, 1e-2, 1e3, lambda x, d=decay: np.clip((1 - x) / d, 0, 1), knots=2001)
        assert best.loss <= rival * (1 + 2e-4)
    assert best.limits[0] == "learning_rate and batch_size held"


def test_held_rates_give_the_frontier():
    best = planner(limits=Limits((1e-2, 1e-2), (1e3, 1e3))).best("constant")
    front = frontier(LAW, np.array([1e17]), reference_params=1e4, learning_rate=1e-2, batch_size=1e3)
    assert best.params == pytest.approx(front.params[0], rel=0.03)
    assert best.loss == pytest.approx(front.loss[0], rel=1e-6)


def test_limits_are_kept_and_named():
    low = planner(limits=Limits((1e-3, 1e-2), (1e4, 1e5))).best("linear")  # the best batch is near 140
    assert (low.batch_size, low.learning_rate) == (pytest.approx(1e4), pytest.approx(1e-2))
    assert low.limits == ("batch_size lowest, learning_rate highest",)
    high = planner(limits=Limits((1e-3, 1e-2), (10.0, 50.0))).best("linear")  # then the rate has to fall
    assert high.batch_size == pytest.approx(50.0)
    assert high.learning_rate < 0.9e-2
    assert "batch_size highest" in high.limits
    free = planner().best("constant")
    assert free.limits == ()


def test_rates_stay_below_their_share_of_the_threshold():
    wide = Limits((1e-3, 10.0), (1.0, 1e6), stability=0.3)
    best = planner(limits=wide).best("constant")
    assert best.learning_rate * 10.0 <= 0.3 * largest_learning_rate(PowerLaw(1.5, 0.3)) * (1 + 1e-9)
    assert best.stability < 0.5
    with pytest.raises(ParameterError, match="no rate from 1 on"):
        planner(limits=Limits((1.0, 10.0), (1.0, 1e6), stability=0.3))


def test_batch_and_rate_of_one_ratio_are_equally_good():
    """What the planner's choice along a ratio rests on, also where the rate acts by a power."""
    law = LAW | {"rate_exponent": 0.7}
    one = planner(law)
    rate, batch = one.rate_and_batch(np.mean(one.ratios))
    smaller = one.log_loss("linear", 1e8, rate / 3, batch / 3**0.7, 1.0)
    assert one.log_loss("linear", 1e8, rate, batch, 1.0) == pytest.approx(smaller, abs=2e-6)


def test_noise_is_identified_by_its_error():
    covariance = np.zeros((len(LAW),) * 2)
    number = list(LAW).index("noise_scale")
    assert not is_noise_identified(LAW, covariance)  # held
    covariance[number, number] = 900.0**2
    assert is_noise_identified(LAW, covariance)
    covariance[number, number] = 1100.0**2
    assert not is_noise_identified(LAW, covariance)
