"""Finds the roles: houblon's own and those in a site's ``roles/`` folder.

A role is a folder whose ``__init__.py`` holds one subclass of `Role`. Nothing else lists roles, so adding one
touches one folder.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import houblon.roles
from houblon.claimjson import claim_from_json, claim_to_json
from houblon.contract import Claim, Metadata, Role
from houblon.errors import BadInput

__all__ = ["Registry", "claim_from_json", "claim_to_json", "discover"]

AnyRole = type[Role[Any]]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True)
class Registry:
    """The roles that exist, by name; houblon's own first."""

    roles: Mapping[str, AnyRole] = field(default_factory=dict)

    @property
    def services(self) -> tuple[str, ...]:
        """Roles that stand under ``services:`` in a site file."""
        return tuple(sorted(n for n, r in self.roles.items() if r.metadata.category != "system"))

    @property
    def systems(self) -> tuple[str, ...]:
        """Roles whose options stand at the top level of a site file."""
        return tuple(sorted(n for n, r in self.roles.items() if r.metadata.category == "system"))

    def consumers(self, kind: type[Claim]) -> tuple[str, ...]:
        """Roles that provide for claims of a kind."""
        return tuple(sorted(n for n, r in self.roles.items() if kind in r.consumes))

    def providers(self, capability: str) -> tuple[str, ...]:
        """Roles that provide a capability."""
        return tuple(sorted(n for n, r in self.roles.items() if capability in r.provides))


def discover(site: Path | None = None) -> Registry:
    """All roles, those of a site folder included.

    :raises BadInput: when a role cannot be imported (naming its file and line), is no role, or has the name
        of one of houblon's.
    """
    ours = _ours()
    if site is None or not (site / "roles").is_dir():
        return Registry(ours)
    roles = dict(ours)
    for folder in _folders(site / "roles"):
        if folder.name in ours:
            raise BadInput(
                f"the role `{folder.name}` has the name of one of houblon's own roles",
                cure="Rename its folder; to change houblon's role, use overrides/ instead.", file=folder,
            )  # fmt: skip
        roles[folder.name] = _load(folder, _site_package(site / "roles"), site_role=True)
    return Registry(roles)


@cache
def _ours() -> Mapping[str, AnyRole]:
    base = Path(houblon.roles.__path__[0])
    return {f.name: _load(f, "houblon.roles", site_role=False) for f in _folders(base)}


def _folders(base: Path) -> Iterator[Path]:
    for folder in sorted(base.iterdir()):
        if folder.name.startswith((".", "_")) or not folder.is_dir():
            continue
        if not (folder / "__init__.py").is_file():
            # A role that was renamed leaves a folder behind that holds only __pycache__.
            leftover = {path.name for path in folder.iterdir()} <= {"__pycache__"}
            if base != Path(houblon.roles.__path__[0]) and not leftover:
                raise BadInput(
                    "this role has no __init__.py", cure="Write one, or move the folder away.", file=folder
                )
            continue
        if not _NAME.fullmatch(folder.name):
            raise BadInput(
                f"`{folder.name}` cannot be the name of a role",
                cure="Use small letters, digits and _, beginning with a letter.", file=folder,
            )  # fmt: skip
        yield folder


def _site_package(roles: Path) -> str:
    """A package name of its own for each site, so that two sites' roles of one name never meet."""
    path = roles.resolve()
    name = f"houblon_site_roles_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name not in sys.modules:
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    return name


def _load(folder: Path, package: str, *, site_role: bool) -> AnyRole:
    module_name = f"{package}.{folder.name}"
    # A site folder is somebody's git repository: no __pycache__ in it.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, sys.dont_write_bytecode or site_role
    try:
        importlib.invalidate_caches()
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        sys.modules.pop(module_name, None)
        file, line = where(error, folder)
        raise BadInput(
            f"the role `{folder.name}` cannot be loaded: {type(error).__name__}: {error}",
            cure="Mend the role, or move its folder away.", file=file, line=line,
        ) from error  # fmt: skip
    finally:
        sys.dont_write_bytecode = before
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Role)
        and value.__module__ == module_name
        and not inspect.isabstract(value)
    ]
    init = folder / "__init__.py"
    if len(found) != 1:
        raise BadInput(
            f"the role `{folder.name}` has {len(found) or 'no'} subclasses of Role",
            cure="Its __init__.py must hold exactly one.", file=init,
        )  # fmt: skip
    role: AnyRole = found[0]
    if not isinstance(getattr(role, "metadata", None), Metadata):
        raise BadInput(
            f"the role `{folder.name}` has no metadata", cure="Set `metadata = Metadata(...)`.", file=init
        )
    role.name, role.folder = folder.name, folder
    return role


def where(error: BaseException, folder: Path) -> tuple[Path, int | None]:
    """The place in a role's folder that an exception comes from."""
    init = folder / "__init__.py"
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename), error.lineno
    inside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(folder.resolve())
    ]
    return (Path(inside[-1].filename), inside[-1].lineno) if inside else (init, None)
