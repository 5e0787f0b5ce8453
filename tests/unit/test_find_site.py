"""Which site a command means."""

from __future__ import annotations

from pathlib import Path

import pytest

from houblon.cli.common import data_home, find_site
from houblon.errors import BadInput


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HOUBLON_SITE", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def site(path: str | Path) -> Path:
    folder = Path(path)
    folder.mkdir(parents=True)
    (folder / "site.yaml").touch()
    return folder


def test_by_path_and_by_name(here: Path) -> None:
    home, shop = site("inventories/home"), site("../elsewhere/shop")
    assert find_site("inventories/home") == home
    assert find_site("inventories/home/") == home
    assert find_site("inventories/home/site.yaml") == home
    assert find_site("home") == home
    assert find_site(str(shop)) == shop
    site("home")
    assert find_site("home") == Path("home"), "what is here comes first"


def test_the_only_one_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="no site here"):
        find_site(None)
    home = site("inventories/home")
    assert find_site(None) == home
    site("shop")
    with pytest.raises(BadInput, match=r"several sites here: home, shop|several sites here: shop, home"):
        find_site(None)
    monkeypatch.setenv("HOUBLON_SITE", "shop")
    assert find_site(None) == Path("shop")
    assert find_site("home") == home, "what is said counts more than the variable"
    monkeypatch.setenv("HOUBLON_SITE", "shoppe")
    with pytest.raises(BadInput, match=r"\$HOUBLON_SITE says: there is no site `shoppe`\n  Did you mean `shop`"):
        find_site(None)


def test_inside_a_site(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = site("home").resolve()
    (home / "overrides/nginx").mkdir(parents=True)
    monkeypatch.chdir(home / "overrides/nginx")
    assert find_site(None) == home


def test_the_demo_is_found_by_name_but_never_meant_by_default(here: Path) -> None:
    demo = site(data_home() / "sites" / "demo")
    assert find_site("demo") == demo
    with pytest.raises(BadInput):
        find_site(None)


def test_what_is_no_site(here: Path) -> None:
    Path("folder").mkdir()
    with pytest.raises(BadInput, match=r"there is no site\.yaml in it"):
        find_site("folder")
    with pytest.raises(BadInput, match="houblon init nothing"):
        find_site("nothing")
    with pytest.raises(BadInput):
        find_site("../../..")
