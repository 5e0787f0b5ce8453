"""The JSON Schema that editors get: it takes what houblon takes, and refuses what it can see is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from toysite import SITE, make_role, make_site

from houblon.registry import discover
from houblon.schema import site_schema
from houblon.yamlfile import read

ROOT = Path(__file__).parents[2]


def validator(site: Path | None = None) -> Draft202012Validator:
    schema = site_schema(discover(site))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["home", "association"])
def test_the_example_sites(name: str) -> None:
    validator().validate(read(ROOT / "inventories" / name / "site.yaml").data)


@pytest.mark.parametrize(
    ("more", "valid"),
    [
        ("", True),
        ("  portal: {}", True),
        ("  portal:\ntls: self-signed", True),
        ("  portal:\ntls: {mode: self-signed}\nfirewall:\nbase: {}", True),
        ("  portl: {}", False),
        ("  portal: {colour: red}", False),
        ("  portal: red", False),
        ("tls: {mode: none}", False),
        ("tls: selfsigned", False),
        ("colour: red", False),
        ("languages: [de]", False),
        ("languages: []", False),
    ],
)
def test_good_and_bad(tmp_path: Path, more: str, valid: bool) -> None:
    make_site(tmp_path, SITE.format(services="") + more)
    assert validator().is_valid(read(tmp_path / "site.yaml").data) is valid


def test_a_site_s_own_role_is_in_its_schema(tmp_path: Path) -> None:
    make_site(tmp_path, services="toy:")
    make_role(tmp_path, "toy")
    data = read(tmp_path / "site.yaml").data
    assert validator(tmp_path).is_valid(data)
    assert not validator().is_valid(data)


def test_every_option_is_explained() -> None:
    def explained(schema: Any, where: str) -> None:
        if isinstance(schema, dict):
            for name, option in schema.get("properties", {}).items():
                assert option.get("description"), f"{where}.{name} has no docstring"
            for key, part in schema.items():
                explained(part, f"{where}.{key}")
        elif isinstance(schema, list):
            for part in schema:
                explained(part, where)

    explained(site_schema(discover()), "site")
