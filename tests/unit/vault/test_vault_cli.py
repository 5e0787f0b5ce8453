"""`houblon secret` and `houblon admin` as somebody runs them; no planted value comes out anywhere."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner
from vaultkit import KeyMaker, Site, public

from houblon.cli import admin, secret
from houblon.vault import SecretSpec, identity

PLANTED = "pl4nted-Value.of-Test"


@dataclass
class Result:
    returncode: int
    stdout: str
    stderr: str


def run(app: str, *args: str, stdin: str = "") -> Result:
    """The sub-app, without a terminal; an error's traceback is part of its standard error."""
    runner = CliRunner(env={"COLUMNS": "200"})
    done = runner.invoke({"secret": secret.app, "admin": admin.app}[app], list(args), input=stdin)
    trace = "".join(traceback.format_exception(done.exception)) if done.exception else ""
    return Result(done.exit_code, done.stdout, done.stderr + trace)


def run_alone(app: str, *args: str, stdin: str = "") -> Result:
    """The same in a process of its own, whose uncaught errors typer renders as it likes to."""
    done = subprocess.run(
        [sys.executable, "-c", f"from houblon.cli.{app} import app; app()", *args],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        start_new_session=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(site: Site) -> Site:
    site.monkeypatch.setenv("HOUBLON_SITE", str(site.folder))
    return site


def test_set_show_list_rotate(here: Site) -> None:
    done = run("secret", "set", "tls/dns-api", "--about", "from the [registrar]", stdin=PLANTED + "\n")
    assert done.returncode == 0, done.stderr
    assert here.open().get("tls", "dns-api").reveal() == PLANTED
    listed = run("secret", "list", "--site", str(here.folder))
    assert listed.returncode == 0 and "tls/dns-api" in listed.stdout and "[registrar]" in listed.stdout
    piped = run("secret", "show", "tls/dns-api")
    assert piped.returncode != 0 and "is no terminal" in piped.stderr
    shown = run("secret", "show", "tls/dns-api", "--stdout")
    assert (shown.stdout, shown.returncode) == (PLANTED + "\n", 0)
    rotated = run("secret", "rotate", "mail/dkim-example.org", "polls/session")
    assert "houblon apply" in rotated.stdout, rotated.stderr
    assert here.open().public("mail", "dkim-example.org") in rotated.stdout
    by_hand = run("secret", "rotate", "tls/dns-api")
    assert by_hand.returncode != 0 and "set by hand" in by_hand.stderr
    for result in (done, listed, piped, rotated, by_hand):
        assert PLANTED not in result.stdout + result.stderr


def full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_planted_value_comes_out_of_no_error(here: Site) -> None:
    """Tracebacks included: these runs end in one, for the main program's handler is not there."""
    run("secret", "set", "tls/dns-api", stdin=PLANTED)
    weak = "passwordpassword"
    results = [run("secret", "set", PLANTED, stdin=weak), run("secret", "rotate", "tls/dns-api")]
    results += [run_alone("secret", "set", "mail/dkim-example.org", stdin=PLANTED)]
    results += [run("secret", "set", "tls/dns-api", stdin=weak)]
    results += [run("secret", "set", "tls/dns-api", stdin=PLANTED * 5000)]
    with here.monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        results.append(run("secret", "set", "tls/dns-api", stdin=PLANTED + "2"))
    assert "No space left" in results[-1].stderr
    here.on("bob", here.bob)
    (here.vault / "secrets/tls/dns-api.age").write_bytes(b"damaged")
    results += [run("secret", "show", "tls/dns-api", "--stdout")]
    for result in results:
        assert result.returncode != 0
        assert PLANTED not in result.stdout + result.stderr and weak not in result.stdout + result.stderr


def test_show_prints_on_a_terminal(here: Site) -> None:
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "from houblon.cli.secret import app; app()", "show", "nextcloud/admin"],
        stdout=side,
        stderr=subprocess.PIPE,
    )
    os.close(side)
    text = b""
    while True:
        try:
            some = os.read(main, 4096)
        except OSError:
            break
        if not some:
            break
        text += some
    assert process.wait(30) == 0, process.stderr.read() if process.stderr else ""
    assert text.decode().strip() == here.open().get("nextcloud", "admin").reveal()
    os.close(main)


def test_an_admin_comes_and_goes(here: Site, ssh_key: KeyMaker, tmp_path: Path) -> None:
    file = here.folder / "site.yaml"
    before = file.read_text()
    login = ssh_key("login", "", "ecdsa")
    refused = run("admin", "add", "carol", "--email", "c@example.org", "--key", f"{login}.pub")
    assert refused.returncode != 0 and "houblon admin identity" in refused.stderr
    own = tmp_path / "carol/identity.age"
    identity.make_identity(own, None)
    added = run(
        "admin", "add", "carol", "--email", "c@example.org", "--key", f"{login}.pub",
        "--key", str(own.with_suffix(".pub")),
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert public(login) in file.read_text() and "3 secrets encrypted anew" in added.stdout
    listed = run("admin", "list").stdout
    assert "carol\n  age1" in listed and "paper\n  age1" in listed and "serial 3" in listed
    here.on("carol", own).open().check()
    value = here.open().get("nextcloud", "admin").reveal()
    here.on("alice", here.alice)
    asked = run("admin", "remove", "carol", stdin="n\n")
    assert asked.returncode != 0 and "To be made anew: mail/dkim-example.org" in asked.stdout
    removed = run("admin", "remove", "carol", "--yes")
    assert removed.returncode == 0, removed.stderr
    assert file.read_text() == before and "New: mail/dkim-example.org, nextcloud/admin" in removed.stdout
    assert value not in removed.stdout + removed.stderr
    assert here.open().get("nextcloud", "admin").reveal() != value


def test_a_removal_cut_off_before_the_site_file_is_completed(here: Site) -> None:
    from houblon.vault import changes

    changes.remove(here.open(), "bob")
    assert "bob@example.org" in (here.folder / "site.yaml").read_text()
    listed = run("admin", "list").stdout
    assert "bob  (cannot open the vault" in listed
    completed = run("admin", "remove", "bob", "--yes")
    assert completed.returncode == 0, completed.stderr
    assert "bob@example.org" not in (here.folder / "site.yaml").read_text()


def test_resign_shows_and_asks(here: Site) -> None:
    assert "nothing to sign" in run("secret", "resign").stdout
    here.open().ensure([SecretSpec("a", "b")])
    for name in ("secrets/a/b.age", "about/a/b"):
        (here.vault / name).unlink()
    refused = run("secret", "resign", "--yes")
    assert refused.returncode != 0 and "secrets/a/b.age: GONE, was signed by alice" in refused.stdout
    assert run("secret", "resign", stdin="n\n").returncode != 0
    signed = run("secret", "resign", stdin="y\n")
    assert signed.returncode == 0 and "Signed." in signed.stdout, signed.stderr
    here.open().check()


def test_trust_shows_the_name_and_paper_its_key_once(here: Site) -> None:
    shown = run("admin", "trust", stdin="n\n")
    assert here.made.name in shown.stdout and shown.returncode != 0
    assert run("admin", "trust", "--yes").returncode == 0
    paper = run("admin", "paper", "--yes")
    assert paper.stdout.count("AGE-SECRET-KEY-1") == 1, paper.stderr
    made = run("admin", "identity", "--no-passphrase")
    assert made.returncode == 0 and identity.default_file().with_suffix(".pub").exists()
    assert "AGE-SECRET" not in made.stdout
