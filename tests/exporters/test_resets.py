"""Other resets than subtraction, and floors: what cannot represent them refuses them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmht_deploy import backends
from lmht_deploy.errors import BackendError, DataError, ExportError, NetworkError
from lmht_deploy.exporters import export
from lmht_deploy.ir import require_plain_resets
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import RESETS, SPECIAL, chain, windows_for

SAID = {
    "zero": "the reset 'zero'",
    "late": "the reset 'subtract-late'",
    "floor": "a floor",
}


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("net.net", {}),
        ("net.net", {"graded": True}),
        ("net.net", {"stock_exact": True}),
        ("net.onnx", {}),
        ("net.c", {}),
    ],
)
def test_exporters(name: str, file: str, options: dict[str, bool], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"layer 'a': .* cannot represent {SAID[name]}; neurons"):
        export(RESETS[name](), tmp_path / file, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("backend", ["event", "torch"])
def test_backends(name: str, backend: str) -> None:
    if reason := backends.unavailable(backend):
        pytest.skip(reason)
    with pytest.raises(BackendError, match=f"layer 'a': .* cannot represent {SAID[name]}; neurons"):
        backends.open_network(backend, RESETS[name]())


@pytest.mark.parametrize("name", SAID)
def test_surrogate_gradients(name: str) -> None:
    pytest.importorskip("torch")
    from lmht_deploy.analysis.explain import explain

    net = RESETS[name]()
    with pytest.raises(DataError, match=f"cannot represent {SAID[name]}"):
        explain(net, windows_for(net)[0], methods=["gradient"])


@pytest.mark.parametrize("reset", ["zero", "subtract-late"])
def test_single_threshold_forms(reset: str) -> None:
    with pytest.raises(NetworkError, match=f"layer 'a' has 2 levels and the reset '{reset}'; only"):
        reparameterize(chain(reset=reset))
    single = chain(reset=reset, levels=1)
    assert reparameterize(single) == single


def test_plain_networks_pass() -> None:
    for make in SPECIAL.values():
        require_plain_resets(make(), "nothing", NetworkError)
