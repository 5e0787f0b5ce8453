"""What a site asks of a host, through the real pyinfra: prepared, and never connected."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from houblon import session
from houblon import site as sites
from houblon.connection import Connection
from houblon.facts.snapshot import script_for
from houblon.model import Model, build
from houblon.operations.run import Run
from houblon.record import desired
from houblon.resources import User
from houblon.site import Site
from houblon.vault import Secret, Vault

ROOT = Path(__file__).parents[2]
WORD = "planted-word-"


class Words:
    """A vault that knows every secret: the word, and what it is for."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(f"{WORD}{role}-{name}".encode())

    def public(self, role: str, name: str) -> str:
        return f"public half of {role}/{name}"

    def previous(self, role: str, name: str) -> None:
        return None


class Never:
    """A connection that nobody may use."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"preparing a plan used the connection: {name}")


def example(name: str, folder: Path, *edits: tuple[str, str]) -> Site:
    """An example site, with these texts replaced in its file."""
    shutil.copytree(ROOT / "inventories" / name, folder)
    file = folder / "site.yaml"
    for old, new in edits:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
    return sites.load(folder)


def model_of(site: Site) -> Model:
    return build(site, cast(Vault, Words()))


def prepare(model: Model) -> tuple[Run, list[str]]:
    """Prepare every operation on a bare host; returns the run, and the names of the operations in their order."""
    run = Run(cast(Connection, Never()), units=model.units())
    state = session.pyinfra_state(cast(Connection, Never()), model.site.host.address)
    session.prepare(state, model.batches, run)
    (host,) = state.inventory
    names = ["/".join(sorted(state.op_meta[key].names)) for key in state.get_op_order()]
    assert len(state.ops[host]) == len(names) == len(model.batches)
    return run, names


@pytest.fixture(scope="module", params=["home", "association"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of(example(request.param, tmp_path_factory.mktemp("site") / request.param))


def test_every_batch_is_one_operation_in_its_place_and_names_carry_nothing(model: Model) -> None:
    run, names = prepare(model)
    assert names == [f"{b.role} {b.stage} {n}" for n, b in enumerate(model.batches)]
    assert set(run.planned) == set(range(len(model.batches)))
    assert run.changes and WORD not in json.dumps([asdict(c) for c in run.changes])


def test_the_order(model: Model) -> None:
    """Packages, then the roles that keep us in, complete and proven; then all others, stage by stage."""
    site = model.site
    order = [(b.role, b.stage, b.kind) for b in model.batches]
    assert order[0] == ("base", "install", "Packages")
    assert [kind for _, _, kind in order].count("Packages") == 1
    first = {role.name for role in site.roles if role.first}
    assert {"base", "ssh", "firewall"} <= first
    proof = next(n for n, (_, _, kind) in enumerate(order) if kind == "Proof")
    doors = [n for n, (_, _, kind) in enumerate(order) if kind == "Door"]
    assert doors and max(doors) < proof
    assert {role for role, _, _ in order[:proof]} == first
    assert not first & {role for role, _, _ in order[proof + 1 :]}
    stages = [stage for _, stage, _ in order[proof + 1 :]]
    assert stages == sorted(stages, key=["install", "configure", "activate"].index)
    for role in first:
        own = [stage for name, stage, kind in order[1:proof] if name == role]
        assert own == sorted(own, key=["install", "configure", "activate"].index)


def test_the_same_model_each_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """No randomness and no clock: two machines plan the same, at any time."""

    def forbidden(*_: object) -> Any:
        raise AssertionError("planning asked for the time, or for chance")

    for module, name in [(time, "time"), (time, "time_ns"), (random, "random"), (random.Random, "getrandbits")]:
        monkeypatch.setattr(module, name, forbidden)
    again = model_of(sites.load(model.site.folder))
    assert again.batches == model.batches
    items = [item for _, item in again.items()]
    assert script_for(items) == script_for([item for _, item in model.items()])


def test_what_is_recorded_and_read_holds_no_secret(model: Model) -> None:
    assert WORD.encode() not in desired(model, model.site, "awa", "now").to_json()
    assert WORD not in script_for([item for _, item in model.items()])
    assert WORD not in repr(model.batches)


def test_two_sites_two_plans(tmp_path: Path) -> None:
    """Different people, names and languages: their files differ, the parts that are alike do not."""
    home = model_of(example("home", tmp_path / "home"))
    association = model_of(example("association", tmp_path / "association"))
    plans = [{(c.kind, c.subject) for c in prepare(model)[0].changes} for model in (home, association)]
    assert ("unit", "nginx.service") in plans[0] & plans[1]
    for one, other, model in ((*plans, home), (*reversed(plans), association)):
        names = {admin.name for admin in model.site.admins}
        served = {i.name for _, i in model.items() if isinstance(i, User) and i.system}
        assert names <= {subject for kind, subject in one - other if kind == "account"} <= names | served
        assert ("file", f"/etc/nginx/houblon/vhosts/{model.site.domain}.conf") in one - other


def test_one_admin_more_changes_what_is_about_admins_only(tmp_path: Path) -> None:
    before = model_of(example("association", tmp_path / "before"))
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f dora@laptop"
    dora = f"  - name: dora\n    email: dora@houblonnieres.example\n    keys: [{key}]\n"
    after = model_of(example("association", tmp_path / "after", ("  - name: chloe\n", f"{dora}  - name: chloe\n")))
    changed = {(role, getattr(i, "path", "") or getattr(i, "name", "")) for role, i in after.items()} - {
        (role, getattr(i, "path", "") or getattr(i, "name", "")) for role, i in before.items()
    }
    assert all("dora" in name for _, name in changed)
    same = {i.path: i for i in before.files()["nginx"].values()}
    assert same == {i.path: i for i in after.files()["nginx"].values()}
