"""Other resets than subtraction, and floors: what cannot represent them refuses them by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmht_deploy.errors import ExportError, NetworkError
from lmht_deploy.exporters import export
from lmht_deploy.ir import require_plain_resets
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import SPECIAL, chain

SAID = {
    "zero": "the reset 'zero'",
    "late": "the reset 'subtract-late'",
    "floor": "a floor",
}


@pytest.mark.parametrize("name", SAID)
def test_stock_exact_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=f"layer 'a': .* cannot represent {SAID[name]}; neurons"):
        export(SPECIAL[name](), tmp_path / "net.net", stock_exact=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reset", ["zero", "subtract-late"])
def test_single_threshold_forms(reset: str) -> None:
    with pytest.raises(NetworkError, match=f"layer 'a' has 2 levels and the reset '{reset}'; only"):
        reparameterize(chain(reset=reset))
    single = chain(reset=reset, levels=1)
    assert reparameterize(single) == single


def test_plain_networks_pass() -> None:
    require_plain_resets(chain(), "nothing", NetworkError)
