"""Network -> NetX file on which unmodified lava-dl 0.6 gives exact spikes.

_convolutions.py  networks with convolutions: convolutions of neurons that keep nothing
_dense.py         networks of dense layers: recurrent layers of neurons that integrate
_shared.py        what both refuse

In both forms one sample is one window, which enters as one graded frame at the first step.
"""

from __future__ import annotations

from pathlib import Path

from lmht_deploy.errors import ExportError
from lmht_deploy.formats.netx.exact import ExactFile, write_exact
from lmht_deploy.ir import Network, require_network, require_plain_resets

from ._convolutions import convolved
from ._dense import unrolled
from ._shared import spikes_per_step

__all__ = ["export_netx_exact"]


def export_netx_exact(net: Network, path: str | Path) -> tuple[str, ...]:
    """Write a small integer network as a NetX file on which stock lava-dl is exact.

    The file appears complete or not at all, and equal networks give equal bytes.

    Args:
        net: The network.
        path: File to write.

    Returns:
        No warnings: stock lava-dl differs in nothing.

    Raises:
        ExportError: Stock neurons cannot run the network: it is a float network, or has a leak
            over several time-steps, a shortcut from the input, max pooling of anything but spikes,
            levels and sub-steps in one layer, uniform injection, potentials beyond 24 bits, or
            more than 32 million weights in one layer of the file. The message names the layer and
            what to do.
        StorageError: The file cannot be written.
    """
    if not require_network(net).integer:
        raise ExportError(
            "a NetX file holds integers, and this is a float network; quantize it first"
        )
    require_plain_resets(net, "a stock-exact NetX file", ExportError)
    for layer in net.neurons:  # before anything is unrolled
        spikes_per_step(layer)
    write_exact(_content(net), path)
    return ()


def _content(net: Network) -> ExactFile:
    """Return the file as convolutions where the network has any, and they can express it."""
    if not any(len(shape) == 3 for shape in net.shapes.values()):
        return unrolled(net)
    try:
        return convolved(net)
    except ExportError as error:
        try:
            return unrolled(net)
        except ExportError:
            raise error from None
