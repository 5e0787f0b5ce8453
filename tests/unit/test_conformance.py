"""What every role owes: asked of the registry, so a new role is held to it without a line here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, cast

import pytest
from toysite import make_site

from houblon.claims import BackupSet, Claim, DataPath, NoBackup, Secret, Text, Unit
from houblon.contract import Config, Role
from houblon.kit import Kit
from houblon.registry import discover
from houblon.resources import Absent, Ensure, UnitState
from houblon.site import Site, load

ROOT = Path(__file__).parents[2]
ROLES = sorted(discover().roles)
pytestmark = pytest.mark.parametrize("name", ROLES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with every service, each with its defaults."""
    services = "".join(f"{service}:\n" for service in discover().services)
    return load(make_site(tmp_path_factory.mktemp("site"), services=services))


def role(site: Site, name: str) -> Role[Any]:
    placed = {role.name: role for role in site.roles}
    return placed.get(name) or site.instantiate(name, examples(site.registry.roles[name]))


def examples(role: type[Role[Any]]) -> dict[str, Any]:
    """What an option without a default gives as its example: ``Field(examples=[...])``."""
    fields = role.config_type().model_fields.items()
    return {key: (field.examples or [None])[0] for key, field in fields if field.is_required()}


def claims(site: Site, name: str) -> list[Claim]:
    one = role(site, name)
    return [*one.claims(), *one.derive()]


def texts(found: list[Claim]) -> list[Text]:
    return [value for claim in found for value in vars(claim).values() if isinstance(value, Text)]


def test_metadata(site: Site, name: str) -> None:
    about = role(site, name).metadata
    assert about.title
    assert re.fullmatch(r"[a-z][a-z ]*", about.category)
    assert about.licence
    for page in (about.homepage, about.source):
        assert not page or page.startswith("https://"), "empty when houblon itself is the upstream"


def test_both_languages(site: Site, name: str) -> None:
    for text in [role(site, name).metadata.summary, *texts(claims(site, name))]:
        assert text.en.strip() and text.fr.strip()
        assert text.en != text.fr
        assert text.en.endswith(".") == text.fr.endswith(".")


def test_it_works_with_its_defaults_and_declares_the_same_twice(site: Site, name: str) -> None:
    assert claims(site, name) == claims(site, name)


def test_backup_or_a_reason(site: Site, name: str) -> None:
    found = claims(site, name)
    kept = [claim for claim in found if isinstance(claim, BackupSet)]
    none = [claim for claim in found if isinstance(claim, NoBackup)]
    assert bool(kept) != bool(none), "either a BackupSet, or the reason why there is nothing to save"
    for path in (claim.path for claim in found if isinstance(claim, DataPath)):
        saved = [saved for claim in kept for saved in claim.paths]
        assert any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in saved), f"{path} is not saved"


def test_remove_undoes_and_keeps_data(site: Site, name: str) -> None:
    one = role(site, name)
    kit = Kit(site, one, cast(Any, None))  # no vault: a removal needs no secret
    one.remove(kit)
    data = [claim.path.rstrip("/") for claim in claims(site, name) if isinstance(claim, DataPath)]
    for item in (item for batch in kit.batches for item in batch.items):
        assert isinstance(item, (Absent, Ensure, UnitState)), f"remove() makes {item}"
        if isinstance(item, UnitState):
            assert item.state != "running"
        if isinstance(item, Absent):
            assert not any(f"{path}/".startswith(f"{item.path.rstrip('/')}/") for path in data), item.path


def test_secrets_are_described(site: Site, name: str) -> None:
    for claim in claims(site, name):
        if isinstance(claim, Secret):
            assert claim.description


def test_units_have_their_suffix(site: Site, name: str) -> None:
    for claim in claims(site, name):
        if isinstance(claim, Unit):
            assert claim.name.endswith((".service", ".timer", ".socket", ".path", ".target"))


def test_options_are_strict_frozen_and_explained(site: Site, name: str) -> None:
    def look(model: type[Config]) -> None:
        assert issubclass(model, Config)
        config = model.model_config
        assert config.get("extra") == "forbid" and config.get("frozen") and config.get("strict")
        for key, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{key} has no docstring"

    look(role(site, name).config_type())


def test_the_folder_is_complete(site: Site, name: str) -> None:
    folder = role(site, name).folder
    for file in ("__init__.py", "checks.py", "README.md"):
        assert (folder / file).is_file(), f"{file} is missing"
    assert len((folder / "README.md").read_text().split()) >= 20
    checks = ast.parse((folder / "checks.py").read_text())
    assert any(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in checks.body)


def test_modules_say_what_they_are_for(site: Site, name: str) -> None:
    for file in role(site, name).folder.rglob("*.py"):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree), f"{file.name} has no docstring"


def test_no_role_names_another(site: Site, name: str) -> None:
    """A provider consumes claims; a role imports only its own modules."""
    for file in role(site, name).folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                assert not module.startswith("roles"), "import houblon.roles..., never roles"
                if module.startswith("houblon.roles."):
                    assert module.split(".")[2] == name, f"{file} imports the role {module}"


def test_declaring_needs_no_pyinfra(site: Site, name: str) -> None:
    """Seen from the source: what a role's own modules import, checks aside."""
    for file in role(site, name).folder.rglob("*.py"):
        if file.name != "checks.py":
            assert not re.search(r"^\s*(from|import) pyinfra", file.read_text(), re.MULTILINE), file


def test_a_page_in_the_reference(name: str) -> None:
    assert (ROOT / "docs" / "reference" / "roles" / f"{name}.md").is_file(), "run `make docs`"
