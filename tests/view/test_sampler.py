"""What a picture counts, and windows that are left out."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.stream import Counts, Decision, Outcome, Windower
from lmht_deploy.result import Result
from lmht_deploy.view import Picture, Sampler, WatchedBins, picture_size
from lmht_deploy.view.sampler import ANSWERS
from tests.support.recordings import at, binned

SENSOR = Sensor(height=4, width=6)


def taken(sampler: Sampler) -> Picture:
    found = sampler.take()
    assert found is not None
    return found


def decision(window: int, latency: float = 0.0) -> Decision:
    return Decision(window, 0, 0, 1, 2.0, [1, 2], False, 3, 0, 5, 7, latency, 0.0, 4)


def result(spikes: int = 5, sops: int = 7) -> Result:
    counts = {"a": np.array([spikes])}, {"a": np.array([sops]), "out": np.array([0])}
    return Result("event", np.zeros((1, 2), np.int64), 1.0, *counts)


@pytest.mark.parametrize(
    ("sensor", "size"),
    [((4, 6), (4, 6)), ((240, 240), (240, 240)), ((720, 1280), (135, 240)), ((1, 4096), (1, 240))],
)
def test_pictures_have_the_shape_of_the_sensor(
    sensor: tuple[int, int], size: tuple[int, int]
) -> None:
    assert picture_size(Sensor(*sensor)) == size


def test_a_picture_holds_the_events_since_the_last_one() -> None:
    sampler = Sampler(SENSOR)
    sampler.watching = True
    events = make_events(*(np.array(v) for v in ([0, 1, 2], [5, 5, 0], [3, 3, 0], [1, 1, 0])))
    sampler.count(events, 0, 2, 1)
    found = taken(sampler)
    assert found.counts[1, 3, 5] == 2 and found.counts.sum() == 2 and found.time == 1
    sampler.count(events, 2, 3, 2)
    found = taken(sampler)
    assert found.counts[0, 0, 0] == 1 and found.counts.sum() == 1 and found.totals.events == 3


def test_counts_end_at_255() -> None:
    sampler = Sampler(SENSOR)
    sampler.watching = True
    sampler.count(at(*range(300)), 0, 300, 299)
    assert taken(sampler).counts[1, 0, 0] == 255


def test_without_a_page_events_are_counted_but_not_drawn() -> None:
    sampler = Sampler(SENSOR)
    sampler.count(at(0), 0, 1, 0)
    found = taken(sampler)
    assert found.totals.events == 1 and not found.counts.any()


def test_nothing_new_makes_no_picture_once_the_rates_are_zero() -> None:
    now = 0.0
    sampler = Sampler(SENSOR, clock=lambda: now)
    sampler.take()
    sampler.count(at(0), 0, 1, 0)
    rates = []
    for _ in range(100):
        now += 1 / 30
        if (found := sampler.take()) is None:
            break
        rates.append(found.rates.events)
    assert rates[-1] == 0 and 2 < len(rates) < 40 and sampler.take() is None
    sampler.touch()
    assert taken(sampler).totals.events == 1


def test_rates_are_those_of_the_last_second() -> None:
    now = 0.0
    sampler = Sampler(SENSOR, clock=lambda: now)
    sampler.take()
    for step in range(60):
        now += 1 / 30
        sampler.count(at(*range(100)), 0, 100, 99)
        sampler.add(decision(step), result())
        found = taken(sampler)
    assert found.rates.events == pytest.approx(3000)
    assert found.rates.windows == pytest.approx(30)
    assert found.rates.sops == pytest.approx(210)


def test_answers_since_the_last_picture() -> None:
    sampler = Sampler(SENSOR)
    for window in range(3):
        sampler.add(decision(window, latency=window), result(spikes=window))
    found = taken(sampler)
    assert [shown.decision.window for shown in found.answers] == [0, 1, 2]
    assert found.answers[2].spikes == (2,) and found.answers[2].sops == (7, 0)
    assert found.latency == (1, 1) and found.totals.sops == 21
    sampler.touch()
    found = taken(sampler)
    assert found.answers == () and found.answer is not None and found.answer.decision.window == 2
    for window in range(100):
        sampler.add(decision(window), result())
    assert [shown.decision.window for shown in taken(sampler).answers] == [*range(100)][-ANSWERS:]


class Ran(Counts):
    """Bins whose windows are their counts."""

    def window(self, oldest: int) -> Outcome:
        counts = super().window(oldest)
        return Outcome(result(spikes=int(counts.sum())), int(counts.sum()), 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first", "ran"), [(0, [3, 1, 1]), (1, [None, 1, 1]), (11, [None, None, 1]), (99, [None] * 3)]
)
def test_windows_before_a_time_do_not_run(first: int, ran: list[int | None]) -> None:
    sampler = Sampler(SENSOR)
    bins = WatchedBins(Ran(2, SENSOR), sampler, first, lambda: windower.start)
    windower = Windower(binned(2, "time", 5), bins)
    events = at(100, 101, 102, 110, 120)
    found = [outcome and outcome.events for _, outcome in windower.push(events)]
    found += [outcome and outcome.events for _, outcome in windower.finish()]
    assert found == ran
    shown = sum(t >= first for t in (2, 2, 2, 10, 20))  # bins 100..104, 110..114, 120..124
    assert taken(sampler).totals.events == shown
