"""The nodes of a graph in topological order."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from lmht_deploy.errors import LoweringError
from lmht_deploy.formats.nir import Graph


def in_order(graph: Graph) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the nodes in topological order, and by name the nodes that each reads.

    The first node is the one input, the last the one output.

    Raises:
        LoweringError: The graph has recurrent connections, several inputs or outputs, or a node
            that nothing enters or that no other node reads.
    """
    reads: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        reads[target].append(source)
    _check_ends(graph, reads)
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        cycle = ", ".join(sorted(set(error.args[1]))[:4])
        raise LoweringError(
            f"recurrent connections cannot be expressed by a network: {cycle}; train a model in "
            "which no layer reads what follows it"
        ) from None
    order.sort(key=lambda name: graph.nodes[name].type == "Output")  # stable
    return order, reads


def _check_ends(graph: Graph, reads: dict[str, list[str]]) -> None:
    for kind in ("Input", "Output"):
        found = [name for name, node in graph.nodes.items() if node.type == kind]
        if len(found) != 1:
            raise LoweringError(f"a graph needs one {kind}, not {len(found)}: {', '.join(found)}")
    sources = {source for source, _ in graph.edges}
    for name, node in graph.nodes.items():
        if node.type != "Input" and not reads[name]:
            raise LoweringError(
                f"{name}: nothing enters this node of type {node.type}; connect or remove it"
            )
        if node.type != "Output" and name not in sources:
            raise LoweringError(
                f"{name}: no node reads this node of type {node.type}; connect or remove it"
            )
