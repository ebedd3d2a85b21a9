"""The type of every loaded data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from lmht_deploy.errors import DataError

Kind = Literal["events", "image"]
Progress = Callable[[int, int], None]
"""Called as `progress(done, total)` after each recording or image."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Network inputs, with labels where they are known.

    Attributes:
        windows: Integers `[N, T_in, C, H, W]`. Events: counts, uint8 or uint16, channel 0 OFF and
            channel 1 ON. Images: int8, gray level - 128, equal at all input steps. Images of
            different sizes are decoded on access, see `images.LazyImages`.
        labels: int64 `[N]`, indices into `classes`; None if the source has no labels.
        classes: Class names; empty if the source does not name them.
        kind: "events" or "image".
        sources: Names of the recordings that the windows come from, relative to the folder of the
            data; empty if the windows do not come from recordings.
        source_index: int64 `[N]`, indices into `sources`; None if there are none.
        start_us: int64 `[N]`, start of each window in us from the first event of its recording;
            None if there are no recordings.
        provenance: What was read and how, as plain values for JSON. `data` is the name or the
            path. For events, `events` is the number of all events, `lost` of those above
            `max_count`, `dropped` of those that were invalid.
    """

    windows: np.ndarray
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    kind: Kind = "events"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    source_index: np.ndarray | None = None
    start_us: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, chosen: slice | np.ndarray) -> Windows:
        """Select windows by a slice or an index array, with all that is known of each."""

        def select(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            windows=self.windows[chosen],
            labels=select(self.labels),
            source_index=select(self.source_index),
            start_us=select(self.start_us),
        )

    def require_labels(self) -> np.ndarray:
        """Return the labels int64 `[N]`; DataError if there are none."""
        if self.labels is None:
            raise DataError(f"{self.provenance.get('data', 'the windows')}: there are no labels")
        return self.labels

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence for each kind of loss: clipped counts and dropped events."""
        found, name = self.provenance, self.provenance.get("data", "windows")
        texts = []
        if lost := found.get("lost", 0):
            texts.append(
                f"{name}: {lost:,} of {found['events']:,} events exceed the largest input count"
                f" ({found['max_count']}) and are not counted"
            )
        if dropped := found.get("dropped", 0):
            texts.append(f"{name}: {dropped:,} invalid events were dropped")
        return tuple(texts)
