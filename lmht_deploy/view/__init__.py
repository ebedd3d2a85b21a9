"""The live view: a page on this machine that shows a stream while it is classified.

    events -> WatchedBins -> decide -> Sampler -> ViewServer -> page
                                ^                     |
                            Transport  <-- commands --+

The stream never waits for a page. It only counts what the page will show. A thread of its own
samples these counts 30 times per second and sends the newest picture to each page that is ready for
one. A page that is not ready loses pictures, never events.

`RerunWriter` takes the place of the sampler where a recording for Rerun is written instead.
"""

from __future__ import annotations

from .protocol import Description
from .rerun import RerunWriter, open_rerun
from .sampler import Layer, Picture, Sampler, WatchedBins, picture_size
from .server import ViewServer
from .transport import SeekRequested, Transport

__all__ = [
    "Description",
    "Layer",
    "Picture",
    "RerunWriter",
    "Sampler",
    "SeekRequested",
    "Transport",
    "ViewServer",
    "WatchedBins",
    "open_rerun",
    "picture_size",
]
