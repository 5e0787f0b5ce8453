"""What the role `privatebin` declares and writes, from its settings alone."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import make_site

from houblon.claims import BackupSet, PersonalData, PhpPool, Vhost
from houblon.errors import HoublonError
from houblon.kit import Kit
from houblon.resources import File
from houblon.roles.privatebin import ETC, LOGS
from houblon.site import Site, load


def make(tmp_path: Path, options: str = "", *, name: str = "Famille Exemple", languages: str = "[fr, en]") -> Site:
    folder = make_site(tmp_path / "site", services=f"privatebin: {{{options}}}")
    file = folder / "site.yaml"
    file.write_text(
        file.read_text().replace("name: Famille Exemple", f"name: {name}\nlanguages: {languages}", 1)
    )
    return load(folder)


def files(site: Site) -> dict[str, File]:
    kit = Kit(site, site.role("privatebin"), cast(Any, None))
    role = site.role("privatebin")
    role.install(kit)
    role.configure(kit)
    role.activate(kit)
    return {item.path: item for batch in kit.batches for item in batch.items if isinstance(item, File)}


def settings(site: Site) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(files(site)[f"{ETC}/conf.php"].content.decode())
    return parsed


def claims(site: Site, kind: type[Any]) -> list[Any]:
    return [claim for claim in site.claims(kind) if claim.role == "privatebin"]


def test_only_its_own_user_reads_its_settings(tmp_path: Path) -> None:
    file = files(make(tmp_path))[f"{ETC}/conf.php"]
    assert (file.mode, file.owner, file.group) == (0o640, "root", "privatebin")
    assert file.content.startswith(b";<?php http_response_code(403); /*"), "as upstream's, were it ever served"


def test_no_text_outlives_the_longest(tmp_path: Path) -> None:
    offered = dict(settings(make(tmp_path, "expiry: 1day, longest: 1month"))["expire_options"])
    assert list(offered) == ["5min", "10min", "1hour", "1day", "1week", "1month"]
    assert min(int(seconds) for seconds in offered.values()) > 0, "0 is for ever"


def test_what_is_offered_first_is_offered_at_all(tmp_path: Path) -> None:
    with pytest.raises(HoublonError, match="longer than"):
        make(tmp_path, "expiry: 1month, longest: 1week")


@pytest.mark.parametrize(
    ("languages", "first", "choice"), [("[fr]", "fr", "false"), ("[fr, en]", "fr", "true"), ("[en, fr]", "en", "true")]
)
def test_the_site_s_first_language_is_the_default(tmp_path: Path, languages: str, first: str, choice: str) -> None:
    main = settings(make(tmp_path, languages=languages))["main"]
    assert main["languagedefault"] == f'"{first}"'
    assert main["languageselection"] == choice
    assert main["name"] == ('"Paste chiffré"' if first == "fr" else '"Encrypted paste"')


def test_a_name_with_signs_neither_ends_the_string_nor_becomes_markup(tmp_path: Path) -> None:
    info = settings(make(tmp_path, name="'\"Été\" <b>100 %</b> ${HOME} \\'"))["main"]["info"]
    inside = info[1:-1]
    assert info[0] == info[-1] == '"' and not set('"\\${}%') & set(inside)
    assert "&lt;b&gt;" in inside


def test_sizes_agree(tmp_path: Path) -> None:
    site = make(tmp_path, "max_mb: 5")
    assert settings(site)["main"]["sizelimit"] == "5000000"
    (vhost,), (pool,) = claims(site, Vhost), claims(site, PhpPool)
    assert vhost.max_body_mb == 6
    assert dict(pool.settings)["post_max_size"] == "6M"


@pytest.mark.parametrize("options", ["", "address_days: 0"])
def test_no_addresses_unless_somebody_says_so(tmp_path: Path, options: str) -> None:
    site = make(tmp_path, options)
    (vhost,) = claims(site, Vhost)
    assert "access_log off;" in vhost.snippet
    assert LOGS not in {claim.where for claim in claims(site, PersonalData)}
    assert bool(list(site.role("privatebin").notes())) is (not options), "who has not decided is reminded"


def test_addresses_are_declared_with_their_days(tmp_path: Path) -> None:
    site = make(tmp_path, "address_days: 365")
    (vhost,) = claims(site, Vhost)
    assert f"access_log {LOGS}/sent.log houblon if=$houblon_sent;" in vhost.snippet
    (kept,) = [claim for claim in claims(site, PersonalData) if claim.where == LOGS]
    assert kept.retention_days == 365
    assert "maxage 365" in files(site)["/etc/logrotate.d/houblon-privatebin"].content.decode()
    # The log of all names is not kept for a year because of this one.
    assert next(role for role in site.roles if role.name == "nginx").log_days() == 14  # type: ignore[attr-defined]


def test_its_policy_is_left_alone_and_its_database_saved(tmp_path: Path) -> None:
    site = make(tmp_path)
    assert claims(site, Vhost)[0].csp is None
    assert claims(site, BackupSet)[0].dumps == ("postgresql:privatebin",)
