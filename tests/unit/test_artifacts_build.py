"""What makes two builds the same, and what is refused before a host is asked for (tests/host/test_build.py builds)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from toyrelease import artifact, toy

from houblon.artifacts import cache
from houblon.artifacts.build import Progress, Recipe, build, built
from houblon.errors import BadInput, Refused

TOY = toy(20_000)
RECIPE = Recipe("pad", "1.0", "true", files=(("a", b"1"),), artifacts=(artifact(TOY),), packages=("bc",))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/houblon/artifacts"


@contextlib.contextmanager
def no_host(recipe: Recipe, progress: Progress) -> Iterator[NoReturn]:
    raise AssertionError("a host was asked for")
    yield


def test_each_input_makes_another_build() -> None:
    changes: list[dict[str, Any]] = [
        {"name": "path"}, {"version": "1.1"}, {"script": "false"}, {"files": (("a", b"2"),)}, {"files": (("b", b"1"),)},
        {"files": ()}, {"packages": ("dc",)}, {"architecture": "arm64"}, {"release": "bookworm"}, {"limit_mb": 1},
        {"artifacts": (artifact(TOY + b"x"),)},
    ]  # fmt: skip
    others = [replace(RECIPE, **change) for change in changes]
    assert len({recipe.inputs for recipe in (RECIPE, *others)}) == 1 + len(others)
    assert replace(RECIPE, packages=("bc",)).inputs == RECIPE.inputs


def test_what_is_not_in_the_cache_is_named_before_a_host_is_asked_for() -> None:
    with pytest.raises(Refused, match=r"pad-1.0 is built from what is not in the cache: toy"):
        build(RECIPE, hosts=no_host)


@pytest.mark.parametrize("files", [(("../a", b""),), ((".script", b""),), (("", b""),), (("a", b""), ("a", b""))])
def test_names_that_would_lie_elsewhere_are_refused(files: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(BadInput, match="plain names"):
        build(replace(RECIPE, files=files, artifacts=()), hosts=no_host)


def test_what_is_in_the_cache_is_not_built_again(own_cache: Path, tmp_path: Path) -> None:
    tree = toy(1000)
    (tmp_path / "tree").write_bytes(tree)
    found = artifact(tree, name="pad", role="")
    cache.take(found, tmp_path / "tree", None)
    index = own_cache / f"pad-1.0-all-{RECIPE.inputs[:16]}.build"
    index.write_text(f'{{"inputs": "{RECIPE.inputs}", "sha256": "{found.sha256}"}}')
    assert build(RECIPE, hosts=no_host) == built(RECIPE) == replace(found, top="pad-1.0")
    assert list(cache.stored()) == [cache.place(found)]
    for damage in ('{"inputs": "other", "sha256": "x"}', "[]", "", "{"):
        index.write_text(damage)
        assert built(RECIPE) is None
