"""The functions of the public API that are not defined by one package alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy._packages import install_command
from lmht_deploy.errors import LoweringError, NetworkError, StorageError
from lmht_deploy.formats.files import as_path
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Input, Network
from lmht_deploy.zoo import network_path

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load", "lower", "save"]


def load(path: str | Path) -> Network:
    """Read a network from a `.lmht` file, or a `.net`, `.nir` or `.lmhtf` file of `export`.

    What other readers see of a `.net` or `.nir` file is compared with the network. A stock-exact
    `.net` file holds no network. `from_nir` reads `.nir` files of other tools.

    Args:
        path: The file, or "zoo:NAME" for a network that comes with the package.

    Raises:
        StorageError: The file is missing, damaged, of another kind or of an unknown version.

    Example:
        >>> net = lmht.load("net.lmht")
    """
    return load_any_network(network_path(as_path(path)))


def save(net: Network, path: str | Path) -> None:
    """Write a network to a `.lmht` file, which appears complete or not at all.

    Args:
        net: An integer or a float network.
        path: The file.

    Raises:
        NetworkError: `net` is not a `Network`.
        StorageError: The file name does not end in `.lmht`, or the file cannot be written.

    Example:
        >>> lmht.save(lmht.quantize(net), "net.lmht")
    """
    if isinstance(path, Network):
        raise NetworkError("the network comes first: save(net, path)")
    path = as_path(path)
    if path.suffix != ".lmht":
        raise StorageError(
            f"{path}: a network is saved as a .lmht file; lmht_deploy.export writes other formats"
        )
    if path.is_dir():
        raise StorageError(f"{path}: is a folder; expected a .lmht file")
    save_network(net, path)


def lower(model: nn.Module, input: Input, *, verify: bool = True) -> Network:
    """Lower a trained PyTorch model to a float network.

    Batch norm is folded, and layers are named by the paths of their modules. The network computes
    what the model computes in evaluation mode.

    Args:
        model: A `lmht_deploy.training.SpikingModel`, or a module of layers of sinabs, snnTorch or
            SpikingJelly.
        input: Name, shape, steps, range and kind of the input.
        verify: Whether to compare the network with the model on random windows. Only huge models
            need False.

    Raises:
        LoweringError: PyTorch is not installed, a module cannot be expressed as a `Network`, or
            the network differs from the model. The message names the module.

    Example:
        >>> input = lmht.Input(name="input", shape=(2, 16, 16), steps=4)
        >>> net = lmht.quantize(lmht.lower(model, input))
    """
    if importlib.util.find_spec("torch") is None:
        raise LoweringError(f"lowering needs PyTorch; run: {install_command('train')}")
    from lmht_deploy.training import lowering

    return lowering.lower(model, input, verify=verify)
