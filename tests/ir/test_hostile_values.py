"""A wrong value in any field of any record ends as NetworkError, never as another exception."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Conv, Flatten, Input, Linear, MaxPool, Network, Readout, Scale, SumPool
from tests.support.tiny import network, neurons


class Rude:
    """A value whose every method raises."""

    def _raise(self, *_: object) -> Any:
        raise KeyError("rude")

    __array__ = __iter__ = __len__ = __index__ = __int__ = __float__ = _raise
    __repr__ = __hash__ = __eq__ = __lt__ = __gt__ = __getitem__ = _raise  # type: ignore[assignment]


WEIGHT = np.ones((2, 1, 1, 1), int)
RECORDS = [
    Conv(source="in", weight=WEIGHT),
    Linear(source="in", weight=WEIGHT.reshape(2, 1)),
    Scale(source="in", weight=WEIGHT.reshape(2)),
    Input(name="in", shape=(1, 2, 2), steps=2),
    neurons(),
    neurons(
        synapses=(Conv(source="in", weight=WEIGHT * 1.0),),
        threshold=np.ones(2),
        omega=np.eye(2),
        bias=np.zeros(2),
        v0=np.zeros(2),
        leak=1.0,
    ),
    SumPool(name="p", source="a", kernel=2, stride=1),
    MaxPool(name="p", source="a", kernel=2, stride=1),
    Flatten(name="f", source="a"),
    Readout(name="out", synapses=(Linear(source="in", weight=[[1]]),), bias=[1]),
    network(neurons()),
]
FIELDS = [(r, f.name) for r in RECORDS for f in dataclasses.fields(r) if f.init]  # type: ignore[arg-type]
HOSTILE: list[Any] = [
    None,
    True,
    np.True_,
    "",
    "text",
    "a/b",
    "\x1b[2J",
    "\ud800",
    b"bytes",
    2.0,
    1.5,
    -1,
    0,
    2**63,
    10**5000,
    -(10**30),
    float("nan"),
    float("inf"),
    1e400,
    1 + 2j,
    np.float16(1.5),
    np.array(1),
    np.array(2.5),
    np.array([1, 2]),
    np.array([[1, 2], [3, 4]]),
    np.array([None, 1], object),
    np.array(["a", "b"]),
    np.array([], int),
    np.array([2**64 - 1], np.uint64),
    np.array([np.finfo(np.longdouble).max]),
    np.array(["2026-01-01"], "datetime64[D]"),
    np.ma.masked_array([1, 2], [True, False]),
    [],
    (),
    [[1, 2], [3]],
    [1, "a"],
    (1, None),
    ("1", "2"),
    (1.0, 1.0),
    (2, 2, 2),
    (1, "C", 2),
    {},
    {"a": 1},
    {1: "a"},
    {1, 2},
    range(3),
    iter([1, 2]),
    object(),
    int,
    Rude(),
    [Rude()],
    Rude,
]


@pytest.mark.parametrize(("record", "field"), FIELDS, ids=lambda x: x if type(x) is str else "")
def test_hostile_values(record: Any, field: str) -> None:
    for value in HOSTILE:
        _accepted_or_refused(record, field, value)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, len(FIELDS) - 1), value=VALUES)
@example(at=0, value=[[[[]]]])
def test_random_values(at: int, value: Any) -> None:
    record, field = FIELDS[at]
    _accepted_or_refused(record, field, value)


def _accepted_or_refused(record: Any, field: str, value: Any) -> None:
    with contextlib.suppress(NetworkError):
        changed = dataclasses.replace(record, **{field: value})
        repr(changed)
        if not isinstance(record, Network):
            _place_in_network(changed)


def _place_in_network(record: Any) -> None:
    """What a record accepts, a network accepts or refuses too."""
    layers = network(neurons()).layers
    match record:
        case Conv() | Linear() | Scale():
            layers = (layers[0], neurons(synapses=(record,)), *layers[2:])
        case Input():
            layers = (record, *layers[1:])
        case Readout():
            layers = (*layers[:-1], record)
        case _:
            layers = (*layers[:2], record, *layers[2:])
    Network(layers)


def test_messages_are_one_short_line() -> None:
    for value in HOSTILE:
        with pytest.raises(NetworkError) as error:
            Input(name="in", shape=(2,), steps=(value,))  # type: ignore[arg-type]
        assert len(str(error.value)) < 200 and str(error.value).isprintable()
