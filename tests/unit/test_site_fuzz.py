"""Whatever stands in a site file, reading it gives a site or one BadInput, and nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toysite import SITE

from houblon.errors import BadInput
from houblon.site import load

GOOD = SITE.format(services="portal:").encode()
WORDS = st.sampled_from([
    "version", "name", "domain", "admins", "host", "services", "portal", "tls", "firewall", "base", "keys", "email",
    "address", "port", "user", "jump", "languages", "self-signed", "fr", "x" * 300, "\u202e", "é", "",
])  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=20)
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=6), max_leaves=25
)
PLACE = tempfile.TemporaryDirectory()
FOLDER = Path(PLACE.name)


def never_crashes(content: bytes) -> None:
    (FOLDER / "site.yaml").write_bytes(content)
    try:
        load(FOLDER)
    except BadInput as error:
        assert error.what and error.cure
        assert error.file is not None
        assert str(error).isprintable() or "\n" in str(error)


@given(st.binary(max_size=200))
@settings(max_examples=25, deadline=None)
def test_bytes(content: bytes) -> None:
    never_crashes(content)


@given(st.text(alphabet=st.sampled_from("abz:- \n\t'\"[]{}&*!|>%@`#?,.~0\\é"), max_size=60))
@settings(max_examples=30, deadline=None)
def test_yaml_like_text(content: str) -> None:
    never_crashes(content.encode())


@given(st.dictionaries(WORDS, TREES, max_size=8))
@settings(max_examples=25, deadline=None)
def test_trees(tree: dict[str, Any]) -> None:
    never_crashes(json.dumps({"version": 1, **tree}).encode())


@pytest.mark.parametrize("mark", [b":", b": ", b"- ", b"\n", b"#", b"'", b"[", b"? "])
def test_a_mark_at_each_line_of_a_good_file(mark: bytes) -> None:
    starts = [0, *(at + 1 for at, byte in enumerate(GOOD) if byte in b"\n:")]
    for start in starts:
        never_crashes(GOOD[:start] + mark + GOOD[start:])


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_good_file_damaged(data: st.DataObject) -> None:
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.integers(0, 12))
        content[start : start + length] = data.draw(st.binary(max_size=6) | st.sampled_from([b"\n", b": ", b"- "]))
    never_crashes(bytes(content))


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_a_good_tree_with_one_value_replaced(data: st.DataObject) -> None:
    tree: dict[str, Any] = {
        "version": 1, "name": "x", "domain": "x.test", "languages": ["fr"],
        "admins": [{"name": "a", "email": "a@x.test", "keys": ["ssh-ed25519 AAAA"]}],
        "host": {"address": "192.0.2.1", "port": 22, "user": "root", "jump": None},
        "services": {"portal": {}}, "tls": "self-signed", "firewall": {}, "base": {}, "ssh": {}, "nginx": {},
    }  # fmt: skip
    inside: Any = tree
    while True:
        key = data.draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
        if isinstance(inside[key], (dict, list)) and inside[key] and data.draw(st.booleans()):
            inside = inside[key]
            continue
        inside[key] = data.draw(TREES)
        break
    never_crashes(json.dumps(tree).encode())
