"""NIR: graphs of other frameworks have the same spikes as networks, and are refused by name."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.cli import main
from lmht_deploy.errors import LmhtError, LoweringError, StorageError
from lmht_deploy.formats.nir import Graph, Node, graph_from_dict, read_nir, write_nir

GOLDEN = Path(__file__).parent / "golden"
RNG = np.random.default_rng(0)

# --------------------------------------------------------------------------- files of frameworks


@pytest.mark.parametrize(
    "name",
    ["sinabs", "snntorch", "snntorch-leak", "snntorch-zero", "norse", "spikingjelly-hard"],
)
def test_every_spike_is_that_of_the_framework(name: str) -> None:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = dict(stored)
    windows = arrays["windows"].astype(np.int64)
    options: Any = {key: str(arrays[key]) for key in ("profile", "reset") if key in arrays}
    net = lmht.from_nir(GOLDEN / f"{name}.nir", steps=windows.shape[1], max_value=2, **options)
    traces = reference.run(net, windows, trace=True).traces
    for index, layer in enumerate(net.neurons):
        expected = arrays[f"spikes{index}"]
        assert 0.02 < expected.mean() < 1.5
        np.testing.assert_array_equal(traces[layer.name], expected)


def test_a_reset_that_is_neither_at_once_nor_late_is_refused() -> None:
    with pytest.raises(LoweringError, match="1: the leak acts before θ is subtracted in snntorch"):
        lmht.from_nir(
            GOLDEN / "snntorch-immediate.nir", steps=4, profile="snntorch", reset="subtract"
        )


def test_a_reset_that_swallows_an_input_is_refused() -> None:
    graph = chain(Node("Linear", {"weight": np.ones((3, 6))}), cuba(3))
    with pytest.raises(LoweringError, match="2: a Synaptic neuron of snntorch that resets to zero"):
        lmht.from_nir(graph, steps=4, dt=1.0, profile="snntorch", reset="value")


@pytest.mark.parametrize(
    ("name", "profile", "reset"),
    [
        ("spikingjelly-hard", "spikingjelly", "zero"),
        ("spikingjelly-hard", "nir", "zero"),
        ("snntorch-immediate", "snntorch", "subtract-late"),
        ("norse", "norse", "zero"),
    ],
)
def test_the_reset_of_the_profile_is_taken(name: str, profile: Any, reset: str) -> None:
    net = lmht.from_nir(GOLDEN / f"{name}.nir", steps=4, profile=profile)
    assert {layer.reset for layer in net.neurons} == {reset}


@pytest.mark.parametrize("floor", [None, -0.5])
def test_a_sinabs_graph_in_memory(floor: float | None) -> None:
    """`nir.write` fails on most graphs of sinabs; the graph itself can be imported."""
    import sinabs.layers as sl
    import sinabs.nir as exchange
    import torch

    torch.manual_seed(0)
    neurons = [
        sl.IAFSqueeze(batch_size=1, min_v_mem=floor),
        sl.LIFSqueeze(tau_mem=9.0, batch_size=1, min_v_mem=floor),
    ]
    first = torch.nn.Conv2d(2, 4, 3, padding=1)
    last = torch.nn.Linear(64, 5)
    with torch.no_grad():
        first.weight.mul_(4)
        last.weight.mul_(20)
    model = torch.nn.Sequential(
        first, neurons[0], sl.SumPool2d(2), torch.nn.Flatten(), last, neurons[1]
    )
    graph = exchange.to_nir(model, torch.zeros(1, 2, 8, 8))
    net = lmht.from_nir(graph, steps=6, profile="sinabs", floor=floor)
    for layer in neurons:
        layer.reset_states()
    found: list[Any] = []
    for layer in neurons:
        layer.register_forward_hook(lambda _m, _i, out: found.append(out.detach().numpy()))
    windows = (np.random.default_rng(3).random((1, 6, 2, 8, 8)) < 0.2).astype(np.int64)
    with torch.no_grad():
        model(torch.tensor(windows[0], dtype=torch.float32))
    traces = reference.run(net, windows, trace=True).traces
    for layer, expected in zip(net.neurons, found, strict=True):
        assert expected.mean() > 0.01
        np.testing.assert_array_equal(traces[layer.name][0], expected)


# ------------------------------------------------------------------------------ graphs of our own


def array(*shape: int, scale: float = 1.0) -> np.ndarray:
    return RNG.normal(size=shape) * scale


def chain(*nodes: Node, shape: tuple[int, ...] = (6,), out: int = 3) -> Graph:
    """A graph in which each node reads the one before."""
    ends = Node("Input", {"shape": np.array(shape)}), Node("Output", {"shape": np.array([out])})
    named = {str(i): node for i, node in enumerate((ends[0], *nodes, ends[1]))}
    names = list(named)
    return Graph(named, tuple(itertools.pairwise(names)))


def lif(n: int, **values: Any) -> Node:
    given = {"tau": 4.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 0.5} | values
    return Node("LIF", {key: np.broadcast_to(value, (n,)) for key, value in given.items()})


def cuba(n: int, **values: Any) -> Node:
    node = lif(n, **({"tau_mem": 5.0, "tau_syn": 2.0, "w_in": 1.5} | values))
    return Node("CubaLIF", {key: value for key, value in node.values.items() if key != "tau"})


def fire(n: int, **values: Any) -> Node:
    given = {"r": 1.0, "v_threshold": 0.7} | values
    return Node("IF", {key: np.broadcast_to(value, (n,)) for key, value in given.items()})


def affine(outputs: int, inputs: int, bias: float = 0.1) -> Node:
    return Node("Affine", {"weight": array(outputs, inputs), "bias": array(outputs, scale=bias)})


def conv(outputs: int, inputs: int, **values: Any) -> Node:
    given: dict[str, Any] = {
        "weight": array(outputs, inputs, 3, 3), "bias": array(outputs), "stride": np.array([2, 1]),
        "padding": np.array([1, 0]), "dilation": np.array([1, 1]), "groups": np.array(1),
        "input_shape": np.array([8, 8]),
    }  # fmt: skip
    return Node("Conv2d", given | values)


def pool(kind: str) -> Node:
    two = np.array([2, 2])
    return Node(kind, {"kernel_size": two, "stride": two, "padding": np.array([0, 0])})


FLATTEN = Node("Flatten", {"start_dim": np.array(0), "end_dim": np.array(-1)})
GRAPHS: dict[str, Callable[[], Graph]] = {
    "if": lambda: chain(affine(5, 6), fire(5), affine(3, 5)),
    "lif": lambda: chain(affine(5, 6), lif(5), Node("Linear", {"weight": array(3, 5)})),
    "v_leak": lambda: chain(affine(5, 6), lif(5, v_leak=np.linspace(-1, 1, 5)), affine(3, 5)),
    "thresholds": lambda: chain(affine(3, 6), lif(3, v_threshold=[0.2, 0.5, 0.9])),
    "cuba": lambda: chain(affine(5, 6), cuba(5), affine(3, 5)),
    "delay": lambda: chain(affine(5, 6), Node("Delay", {"delay": np.full(5, 2.0)}), lif(5),
                           affine(3, 5)),
    "delayed spikes": lambda: chain(affine(5, 6), lif(5), Node("Delay", {"delay": np.full(5, 1.0)}),
                                    Node("Linear", {"weight": array(3, 5)}), cuba(3)),
    "threshold": lambda: chain(affine(5, 6), Node("Threshold", {"threshold": np.full(5, 0.4)}),
                               affine(3, 5)),
    "scale": lambda: chain(affine(5, 6), Node("Scale", {"scale": array(5)}), fire(5), affine(3, 5)),
    "scaled spikes": lambda: chain(affine(5, 6), fire(5), Node("Scale", {"scale": array(5)}),
                                   lif(5), affine(3, 5)),
    "conv": lambda: chain(conv(4, 2), fire(1), pool("SumPool2d"), FLATTEN, affine(3, 4 * 2 * 3),
                          shape=(2, 8, 8)),
    "average": lambda: chain(conv(4, 2, padding="same", stride=np.array(1)), fire(1),
                             pool("AvgPool2d"), conv(6, 2, groups=np.array(2)), lif(1), FLATTEN,
                             affine(3, 6 * 2 * 2), shape=(2, 8, 8)),
    "hard": lambda: chain(affine(5, 6), lif(5, v_reset=0.0), affine(3, 5)),
    "spiking output": lambda: chain(conv(2, 1), lif(1), shape=(1, 4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("floor", [None, -0.2])
@pytest.mark.parametrize(
    ("node", "options"),
    [
        (lif(5, v_reset=np.linspace(-0.2, 0.3, 5), v_leak=0.1), {}),
        (fire(5, v_reset=-0.1), {}),
        (cuba(5, v_reset=0.0), {}),
        (cuba(5), {"reset": "subtract-late"}),
        (lif(5), {"reset": "subtract-late", "max_spikes": 4}),
        (lif(5, v_reset=0.0), {"max_spikes": 4}),
        (lif(5), {"max_spikes": 3}),
        (lif(5, v_reset=0.2), {"profile": "spikingjelly"}),
        (lif(5, v_reset=-0.2), {"profile": "norse", "dt": 0.5}),
        (lif(5), {"profile": "snntorch"}),
    ],
)
def test_every_reset_is_verified(node: Node, options: Any, floor: float | None) -> None:
    graph = chain(affine(5, 6), node, affine(3, 5))
    given = {"steps": 12, "dt": 1.0, "max_value": 2, "floor": floor} | options
    net = lmht.from_nir(graph, **given)
    (layer,) = net.neurons
    assert (layer.floor is None) == (floor is None)
    integer = lmht.quantize(net)
    windows = np.random.default_rng(1).integers(0, 3, (3, *net.window_shape))
    expected = reference.run(integer, windows)
    result = lmht.run(integer, windows, backend="event")
    np.testing.assert_array_equal(result.logits, expected.logits)


def residual() -> Graph:
    graph = chain(affine(5, 6), lif(5), affine(5, 5), lif(5), affine(3, 5))
    return Graph(graph.nodes, (*graph.edges, ("2", "4"), ("1", "4")))


GRAPHS["residual"] = residual


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("max_spikes", [1, 3])
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_are_verified_and_run_everywhere(name: str, max_spikes: int, still: bool) -> None:
    graph = GRAPHS[name]()
    if still and name == "residual":  # the image of one step is added to spikes of every step
        with pytest.raises(LoweringError, match="4: an addition needs currents of equal shapes"):
            lmht.from_nir(graph, steps=5, dt=1.0, still=True)
        return
    net = lmht.from_nir(
        graph, steps=5, dt=1.0, max_spikes=max_spikes, max_value=4, input_scale=0.5, still=still
    )
    integer = lmht.quantize(net)
    windows = np.random.default_rng(1).integers(0, 5, (3, *net.window_shape))
    expected = reference.run(integer, windows)
    result = lmht.run(integer, windows, backend="event")
    np.testing.assert_array_equal(result.logits, expected.logits)


def test_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    import nir

    for name in ("if", "cuba", "conv", "residual"):
        graph = GRAPHS[name]()
        write_nir(tmp_path / "a.nir", graph)
        again = read_nir(tmp_path / "a.nir")
        assert again.edges == graph.edges
        for key, node in graph.nodes.items():
            assert again.nodes[key].type == node.type
            for what, value in node.values.items():
                np.testing.assert_array_equal(again.nodes[key].values[what], value)
        assert set(nir.read(tmp_path / "a.nir").nodes) == set(graph.nodes)


def test_empty_values_are_refused(tmp_path: Path) -> None:
    write_nir(tmp_path / "a.nir", chain(affine(3, 6), Node("Scale", {"scale": np.zeros(0)})))
    with pytest.raises(StorageError, match="2: scale is empty"):
        read_nir(tmp_path / "a.nir")


def as_dict(graph: Graph) -> dict[str, Any]:
    """The graph as the package `nir` writes it."""
    nodes = {name: {"type": node.type, **node.values} for name, node in graph.nodes.items()}
    return {"type": "NIRGraph", "nodes": nodes, "edges": list(graph.edges)}


def test_subgraphs_belong_to_the_graph() -> None:
    content = as_dict(chain(affine(5, 6), affine(3, 5)))
    content["nodes"]["sub"] = as_dict(chain(lif(5), out=5))
    content["edges"] = [("0", "1"), ("1", "sub"), ("sub", "2"), ("2", "3")]
    graph = graph_from_dict(content)
    net = lmht.from_nir(graph, steps=4, dt=1.0)
    assert [layer.name for layer in net.neurons] == ["sub.1"]


def with_edge(*edge: tuple[str, str]) -> Graph:
    graph = chain(affine(6, 6), lif(6), affine(3, 6))
    return Graph(graph.nodes, (*graph.edges, *edge))


REFUSED: dict[str, tuple[Callable[[], Graph], str]] = {
    "recurrent": (lambda: with_edge(("2", "1")), "recurrent connections .*; train a model"),
    "v_reset": (lambda: chain(affine(3, 6), lif(3, v_reset=0.5)), "must be below the threshold"),
    "leaks": (lambda: chain(affine(3, 6), lif(3, tau=[2.0, 3.0, 4.0])),
              "1?2: the leak must be .*divide the node"),
    "tau": (lambda: chain(affine(3, 6), lif(3, tau=0.5)), "shorter than the step"),
    "theta": (lambda: chain(affine(3, 6), lif(3, v_threshold=0.0)), "threshold must be positive"),
    "pixels": (lambda: chain(conv(1, 1), Node("IF", {
        "r": np.ones((1, 2, 2)), "v_threshold": np.array([[[1.0, 2], [1, 1]]])}), shape=(1, 4, 4)),
        "differs within a channel.*; use one value per channel"),
    "LI": (lambda: chain(affine(3, 6), Node("LI", {"tau": np.ones(3)})), "LI cannot be expressed"),
    "cuba leak": (lambda: chain(affine(3, 6), cuba(3, v_leak=1.0)),
                  "v_leak that is not 0 .*; use v_leak = 0"),
    "bias": (lambda: chain(Node("Delay", {"delay": np.ones(6)}), affine(3, 6), lif(3)),
             "a bias after a delay .*; use a Linear node"),
    "delay": (lambda: chain(affine(3, 6), Node("Delay", {"delay": np.array([1, 2, 1.0])}), lif(3)),
              "the delay must be the same"),
    "endless": (lambda: chain(affine(3, 6), Node("Delay", {"delay": np.array(1e300)}), lif(3)),
                "up to 4096"),
    "shapes": (lambda: chain(affine(4, 6), lif(3)), "has the shape .*; it must be one number"),
    "pool": (lambda: chain(conv(2, 1), pool("SumPool2d"), FLATTEN, shape=(1, 8, 8)),
             "a pooling reads the current"),
    "stride": (lambda: chain(conv(2, 1, padding="same"), lif(1), shape=(1, 4, 4)),
               r"the padding 'same' of a kernel of 3 x 3 with the stride \(2, 1\)"),
    "kernel": (lambda: chain(Node("AvgPool2d", dict.fromkeys(
        ("kernel_size", "stride", "padding"), np.array([0, 0]))), FLATTEN, shape=(1, 4, 4)),
        "kernel must be one or two integers >= 1"),
    "size": (lambda: chain(affine(3, 4), shape=(4.5,)), "the shape must hold integers"),
    "unread": (lambda: Graph(with_edge().nodes, with_edge().edges[:-1]),
               "no node reads .*; connect or remove it"),
}  # fmt: skip


def test_a_node_divided_by_leak_is_expressed() -> None:
    """What the refusal of several leaks advises: one node per value, which read the same nodes."""
    rng = np.random.default_rng(3)
    weight, after = rng.normal(size=(3, 6)), rng.normal(size=(4, 3))
    tau = [2.0, 3.0, 4.0]

    def linear(values: np.ndarray) -> Node:
        return Node("Linear", {"weight": values})

    nodes = {"input": Node("Input", {"shape": np.array([6])})}
    edges = []
    for i in range(3):
        parts = (linear(weight[i : i + 1]), lif(1, tau=tau[i]), linear(after[:, i : i + 1]))
        nodes |= {f"{what}{i}": node for what, node in zip("wno", parts, strict=True)}
        edges += [("input", f"w{i}"), (f"w{i}", f"n{i}"), (f"n{i}", f"o{i}"), (f"o{i}", "output")]
    nodes["output"] = Node("Output", {"shape": np.array([4])})
    net = lmht.from_nir(Graph(nodes, tuple(edges)), steps=5, dt=1.0, max_value=3)
    assert [layer.leak for layer in net.neurons] == [1 - 1 / value for value in tau]


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_network_cannot_express_is_refused_by_name(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(LoweringError, match=message):
        lmht.from_nir(make(), steps=4, dt=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be"),
        ({"steps": "8"}, "steps must be"),
        ({"profile": "brian"}, "profile must be one of nir, sinabs"),
        ({"reset": "zero"}, "reset must be one of subtract"),
        ({"floor": 0.5}, "floor must be a number <= 0, not 0.5"),
        ({"floor": "low"}, "floor must be a number <= 0"),
        ({"dt": 0.0}, "dt must be a positive number"),
        ({"dt": "1"}, "dt must be a positive number"),
        ({"max_spikes": 0}, "largest number of spikes must be an integer of 1 to 2,147,483,647"),
        ({"max_value": 10**9}, "max_value"),
        ({"input_scale": -1}, "scale of the input"),
        ({"input_scale": True}, "scale of the input"),
        ({"dt": 10**400}, "dt must be a positive number"),
        ({"floor": -(10**400)}, "floor must be a number <= 0"),
        ({"still": "no"}, "still must be True or False, not 'no'"),
    ],
)
def test_wrong_options(options: Any, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        lmht.from_nir(GRAPHS["if"](), **({"steps": 4} | options))


LINEAR: dict[str, tuple[object, str]] = {
    "masked": (np.ma.masked_array(np.ones((3, 6)), np.eye(3, 6)), "must have no masked values"),
    "complex": (np.ones((3, 6)) * 1j, "must be real numbers"),
    "texts": (np.full((3, 6), "7"), "must be real numbers"),
    "dates": (np.full((3, 6), "2020-01-01", "M8[D]"), "must be real numbers"),
    "fields": (np.ones((3, 6), [("a", float)]), "must be real numbers"),
    "large": (np.full((3, 6), 2**63, np.uint64), "integers beyond 64 bits with a sign"),
    "infinite": (np.full((3, 6), np.inf), "no finite numbers"),
    "ragged": ([[1], [1, 2]], "must be an array of numbers"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_weights_that_are_no_real_numbers_are_refused(name: str) -> None:
    weight, message = LINEAR[name]
    with pytest.raises(StorageError, match=f"1: weight .*{message}"):
        graph_from_dict(as_dict(chain(Node("Linear", {"weight": weight}))))  # type: ignore[dict-item]


def test_tensors_are_weights() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.ones(3, 6, requires_grad=True)
    for given in (weight, np.ones((3, 6), ">f4"), np.ones((3, 6), np.float16, order="F")):
        graph = graph_from_dict(as_dict(chain(Node("Linear", {"weight": given}))))
        np.testing.assert_array_equal(graph.nodes["1"].values["weight"], np.ones((3, 6)))
    for given in (weight.to("meta"), weight.to(torch.bfloat16), weight.to_sparse()):
        with pytest.raises(StorageError, match="1: weight"):
            graph_from_dict(as_dict(chain(Node("Linear", {"weight": given}))))


def test_a_resistance_of_minus_infinity_is_refused() -> None:
    with pytest.raises(StorageError, match=r"1: r .*no finite numbers"):
        graph_from_dict(as_dict(chain(lif(6, tau=np.inf, r=-np.inf), out=6)))


@pytest.mark.parametrize("edges", [None, 5, [1, 2], ["ab"], [("0", None)], [(b"\xff", b"1")]])
def test_edges_that_are_no_pairs_of_names_are_refused(edges: object) -> None:
    with pytest.raises(StorageError, match="edge"):
        graph_from_dict(as_dict(chain(affine(3, 6))) | {"edges": edges})


@pytest.mark.parametrize("nodes", [{1: {"type": "Input"}}, {"a": {"type": b"\xff"}}])
def test_nodes_without_a_name_or_type_are_refused(nodes: object) -> None:
    with pytest.raises(StorageError, match=r"name of a node must be text|unknown type"):
        graph_from_dict({"nodes": nodes, "edges": []})


def test_numbers_of_numpy_are_options() -> None:
    options: Any = {"steps": np.int64(4), "dt": np.float32(0.5), "max_spikes": np.int32(3)}
    given: Any = {"steps": 4, "dt": 0.5, "max_spikes": 3}
    graph = GRAPHS["lif"]()
    assert lmht.from_nir(graph, **options) == lmht.from_nir(graph, **given)


def test_a_wrong_source() -> None:
    for source in (3, None, b"net.nir"):
        with pytest.raises(LmhtError):
            lmht.from_nir(source, steps=4)
    with pytest.raises(StorageError, match="no such file"):
        lmht.from_nir("missing.nir", steps=4)


def test_an_error_in_the_network_is_found() -> None:
    """The verification compares every layer with the graph."""
    import dataclasses

    from lmht_deploy.importers._dynamics import rules
    from lmht_deploy.importers._interpreter import require_agreement

    graph, taken = GRAPHS["lif"](), rules("nir", 1.0, None, None)
    net = lmht.from_nir(graph, steps=20, dt=1.0, max_value=2)
    for change in ({"leak": 0.5}, {"threshold": np.full(5, 0.7)}, {"bias": np.full(5, 0.3)}):
        layers = [
            dataclasses.replace(layer, **change) if layer in net.neurons else layer
            for layer in net.layers
        ]
        with pytest.raises(LoweringError, match="2: the spikes of the network differ"):
            require_agreement(graph, taken, lmht.Network(tuple(layers)), 1.0)


def test_the_command_says_what_it_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.lmht"
    arguments = ["import", str(GOLDEN / "snntorch.nir"), "-o", str(out), "--steps", "8"]
    arguments += ["--json", str(tmp_path / "import.json")]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--profile", "snntorch", "--max-value", "2"])
    said = capsys.readouterr()
    assert ended.value.code == 0
    for words in ("profile snntorch", "dt = 0.0001", "subtract-late", "beta = λ = 1 - dt/τ"):
        assert words in said.err
    document = json.loads((tmp_path / "import.json").read_text())
    assert document["check"] == {"probe_windows": 4, "spikes": "equal", "logits": "equal"}
    assert "assumed: profile snntorch" in said.err and "profile snntorch" in document["assumed"]
    net = lmht.load(out)
    assert net.integer and "snntorch" in net.metadata["nir"]
    assert f"wrote {out}: 2 neuron layers, accumulators of at most" in said.out
    with pytest.raises(SystemExit) as ended:
        arguments[1] = str(GOLDEN / "snntorch-zero.nir")
        main([*arguments, "--profile", "snntorch", "--reset", "value", "--floor", "-1"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "reset value" in said.err and "no potential below -1" in said.err
    (first, second) = lmht.load(out).neurons
    assert first.reset == second.reset == "zero" and first.floor is not None


def test_the_number_of_spikes_has_an_upper_limit() -> None:
    with pytest.raises(LoweringError, match="of 1 to 2,147,483,647, not 2147483648"):
        lmht.from_nir(GRAPHS["if"](), steps=4, max_spikes=2**31)
