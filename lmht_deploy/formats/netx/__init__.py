"""NetX, the HDF5 format in which lava-dl exchanges trained networks (`.net`).

keys.py      every key that lava-dl knows
network.py   files of LM-HT networks: exact in the Lava processes of lmht-deploy
derive.py    what the Lava processes read of a network, written and checked
fold.py      pooling, Flatten and exponents as a part of the weights
exact.py     files of LM-HT networks on which unmodified lava-dl is exact
stock.py     files of any tool, as stock lava-dl reads them
weights.py   what lava-dl and Lava make of dense weights
"""

from __future__ import annotations

from lmht_deploy.formats.schema import Schema

from . import keys
from .derive import load_netx_network
from .exact import SCHEMA as EXACT_SCHEMA
from .exact import ExactFile, write_exact
from .network import SCHEMA as NETWORK_SCHEMA
from .network import NetworkFile, read_network, write_network
from .stock import NetX, is_foreign, load_netx

STOCK_SCHEMA = Schema(
    title="NetX files of other tools (`.net`)",
    suffix=".net",
    format="",
    version=0,
    summary=(
        "HDF5. NetX has no specification, no version and no checksum. These are the keys that "
        "`lava.lib.dl.netx.hdf5` reads. The layers form a chain. Layers of other types are "
        "refused or silently skipped by lava-dl. All further attributes, data sets and groups in "
        "a layer are ignored."
    ),
    groups=(keys.LAYER_GROUP, keys.NEURON_GROUP, keys.SIMULATION_GROUP),
)

SCHEMAS = (STOCK_SCHEMA, NETWORK_SCHEMA, EXACT_SCHEMA)
"""Descriptions of the three forms, for the documentation."""

__all__ = [
    "EXACT_SCHEMA",
    "NETWORK_SCHEMA",
    "SCHEMAS",
    "STOCK_SCHEMA",
    "ExactFile",
    "NetX",
    "NetworkFile",
    "is_foreign",
    "load_netx",
    "load_netx_network",
    "read_network",
    "write_exact",
    "write_network",
]
