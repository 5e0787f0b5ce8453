"""base, ssh, firewall and fail2ban, rendered offline for a small site and compared with golden files.

``UPDATE_GOLDEN=1`` rewrites the golden files. Where the real programs are installed they judge the result too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from houblon import site as sites
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.resources import Door, Ensure, File, Item, User, digest, key
from houblon.roles.base import shadow_hash
from houblon.vault.secret import Secret

EXPECTED = Path(__file__).parent / "expected" / "system"
ROLES = ("base", "ssh", "firewall", "fail2ban")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} {}"

SITE = f"""\
version: 1
name: Les amis du houblon
domain: houblon.test
languages: [fr, en]
admins:
  - name: alice
    email: alice@houblon.test
    keys:
      - {KEY.format("A" * 43, "alice@laptop")}
      - {KEY.format("B" * 42 + "A", "alice@phone")}
  - name: bob
    email: bob@houblon.test
    keys: ["{KEY.format("C" * 42 + "A", "bob")}"]
host: {{address: 192.0.2.10, port: 2222, user: debian}}
base: {{timezone: Europe/Brussels, reboot_at: "04:30"}}
firewall:
  open:
    - {{port: 51820, proto: udp, why: WireGuard}}
    - {{port: 9100, exposure: lan, why: metrics}}
fail2ban: {{never_ban: [198.51.100.0/24]}}
services: {{toy: {{}}}}
"""

TOY = '''\
from houblon.contract import Config, HostName, Jail, Metadata, PersonalData, Port, Role, tr


class ToyConfig(Config):
    pass


class Toy(Role[ToyConfig]):
    metadata = Metadata(title="Toy", summary=tr(en="A toy.", fr="Un jouet."), category="other",
                        licence="MIT", homepage="https://toy.test")

    def claims(self):
        yield HostName("toy.houblon.test")
        yield Port(4242, why="toys")
        yield Jail("toy", filter="toy", journal="_SYSTEMD_UNIT=toy.service", ports=(4242, 4243),
                   filter_text="[Definition]\\nfailregex = ^bad toy from <HOST>$\\n")
        yield PersonalData(tr(en="Who played", fr="Qui a joué"), where="journal", retention_days=400)
'''


class FixedVault:
    """Gives a password that follows from its name: which one does not matter here, that it stays does."""

    def get(self, role: str, name: str) -> Secret:
        return Secret(digest(role, name)[:24].encode())


def write_site(folder: Path, text: str = SITE) -> Path:
    toy = folder / "roles" / "toy"
    toy.mkdir(parents=True)
    (toy / "__init__.py").write_text(TOY)
    (folder / "site.yaml").write_text(text)
    return folder


def recorded(site: sites.Site, role: str) -> list[Item]:
    """What a role's stages ask for, with the files of doors among the items."""
    kit = Kit(site, site.role(role), FixedVault())  # type: ignore[arg-type]
    for stage in ("install", "configure", "activate"):
        kit.stage = stage
        getattr(site.role(role), stage)(kit)
    return [item for batch in kit.batches for item in batch.items]


def files(items: list[Item]) -> Iterator[File]:
    for item in items:
        if isinstance(item, File):
            yield item
        elif isinstance(item, Door):
            yield from item.files


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> sites.Site:
    return sites.load(write_site(tmp_path_factory.mktemp("site")))


@pytest.fixture(scope="module")
def items(site: sites.Site) -> dict[str, list[Item]]:
    return {role: recorded(site, role) for role in ROLES}


def summary(items: list[Item]) -> str:
    """Everything but contents, in order: what would be made, as whom, readable by whom."""
    lines = []
    for item in items:
        fields: dict[str, Any] = {}
        match item:
            case File():
                fields = {"mode": f"{item.mode:o}", "owner": item.owner, "group": item.group, "system": item.system}
            case Door():
                fields = {f.path: f"{f.mode:o}" for f in item.files} | {"live": item.live}
            case User():
                fields = {"home": item.home, "shell": item.shell, "groups": item.groups}
            case Ensure():
                fields = {"soft": item.soft}
        lines.append(" ".join([type(item).__name__, key(item), *(f"{k}={v}" for k, v in fields.items())]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("role", ROLES)
def test_role_renders_as_expected(role: str, items: dict[str, list[Item]]) -> None:
    wanted = {f"{role}/{f.path.lstrip('/')}": f.content for f in files(items[role])}
    wanted[f"{role}/items.txt"] = summary(items[role]).encode()
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(EXPECTED / role, ignore_errors=True)
        for name, content in wanted.items():
            (EXPECTED / name).parent.mkdir(parents=True, exist_ok=True)
            (EXPECTED / name).write_bytes(content)
    present = {str(p.relative_to(EXPECTED)) for p in (EXPECTED / role).rglob("*") if p.is_file()}
    assert present == set(wanted)
    for name, content in sorted(wanted.items()):
        assert content.decode() == (EXPECTED / name).read_text(), name


def test_rendering_twice_gives_the_same(site: sites.Site, items: dict[str, list[Item]]) -> None:
    assert {role: recorded(site, role) for role in ROLES} == items


def test_no_secret_is_written_to_a_file(items: dict[str, list[Item]]) -> None:
    vault = FixedVault()
    passwords = [vault.get("base", f"sudo-{name}").reveal_bytes() for name in ("alice", "bob")]
    for role in ROLES:
        for file in files(items[role]):
            assert not any(password in file.content for password in passwords), file.path
        for item in items[role]:
            assert not any(password.decode() in repr(item) for password in passwords)


def test_sudo_password_opens_the_shadow_entry() -> None:
    first = shadow_hash("alice", "correct horse battery st")
    assert first == shadow_hash("alice", "correct horse battery st")
    assert first.startswith("$2b$08$") and len(first) == 60
    assert bcrypt.checkpw(b"correct horse battery st", first.encode())
    assert not bcrypt.checkpw(b"correct horse battery su", first.encode())
    salts = {shadow_hash(name, "same password")[7:29] for name in ("alice", "bob", "carol")}
    assert len(salts) == 3


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("base: {timezone: Mars/Olympus}", "base.timezone"),
        ("base: {timezone: ../../etc/shadow}", "base.timezone"),
        ('base: {reboot_at: "25:00"}', "base.reboot_at"),
        ("base: {journal_days: 0}", "base.journal_days"),
        ("firewall: {open: [{port: 70000, why: x}]}", "firewall.open"),
        ("firewall: {open: [{port: 80}]}", "firewall.open"),
        ("firewall: {open: [{port: 8000, why: 'a\" accept comment \"b'}]}", "firewall.open"),
        ("fail2ban: {never_ban: [192.0.2.1/24]}", "fail2ban.never_ban"),
        ("fail2ban: {never_ban: [\"::1 0.0.0.0/0\"]}", "fail2ban.never_ban"),
        ("ssh: {password: true}", "ssh"),
    ],
)
def test_wrong_settings_name_their_key(tmp_path: Path, wrong: str, where: str) -> None:
    lines = SITE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("base:"))
    end = next(i for i, line in enumerate(lines) if line.startswith("services:"))
    folder = write_site(tmp_path / "site", "\n".join([*lines[:start], wrong, *lines[end:]]) + "\n")
    with pytest.raises(BadInput) as caught:
        sites.load(folder)
    assert (caught.value.key or "").startswith(where)
    assert caught.value.line == start + 1


def test_overrides_of_the_site_are_taken_in(tmp_path: Path) -> None:
    folder = write_site(tmp_path / "site")
    texts = {
        "ssh/sshd_config": "AllowUsers backup\n",
        "firewall/input.nft": "ip saddr 203.0.113.9 tcp dport 5000 accept\n",
        "base/hosts": "203.0.113.9 nas\n",
    }
    for name, text in texts.items():
        path = folder / "overrides" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    site = sites.load(folder)
    for role in ("base", "ssh", "firewall"):
        everything = b"\n".join(f.content for f in files(recorded(site, role))).decode()
        assert all(text.strip() in everything for name, text in texts.items() if name.startswith(role))


# --- the real programs' judgement, where they are -----------------------------------------------------------


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


def need(program: str) -> str:
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        pytest.skip(f"{program} is not installed here")
    return found


def content(items: dict[str, list[Item]], role: str, path: str) -> str:
    return next(f.content.decode() for f in files(items[role]) if f.path == path)


def test_nft_accepts_the_rules_twice(items: dict[str, list[Item]], tmp_path: Path) -> None:
    nft, unshare = need("nft"), need("unshare")
    rules = tmp_path / "firewall.nft"
    rules.write_text(content(items, "firewall", "/etc/houblon/firewall.nft"))
    script = f"{nft} -f {rules} && {nft} -f {rules} && {nft} list table inet houblon"
    spaces = ["-n"] if os.geteuid() == 0 else ["-rn"]
    done = run(unshare, *spaces, "sh", "-c", script)
    if "Operation not permitted" in done.stderr:
        pytest.skip("no network namespace can be made here")
    assert done.returncode == 0, done.stderr
    assert "policy drop" in done.stdout and "dport 2222" in done.stdout
    assert done.stdout.count("table inet houblon") == 1


def test_sshd_accepts_its_configuration(items: dict[str, list[Item]], tmp_path: Path) -> None:
    sshd, keygen = need("sshd"), need("ssh-keygen")
    host_key = tmp_path / "host_key"
    assert run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)).returncode == 0
    config = tmp_path / "sshd_config"
    text = content(items, "ssh", "/etc/ssh/sshd_config")
    config.write_text(text.replace("/etc/ssh/ssh_host_ed25519_key", str(host_key)))
    # sshd wants its directory in /run even to check a file; one of its own leaves this machine alone.
    script = f"mount -t tmpfs none /run && mkdir -m 755 /run/sshd && {sshd} -t -f {config}"
    done = run(need("unshare"), "--mount" if os.geteuid() == 0 else "-rm", "sh", "-c", script)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("no mount namespace can be made here")
    assert (done.returncode, done.stderr) == (0, "")


def test_visudo_accepts_the_rules(items: dict[str, list[Item]]) -> None:
    text = content(items, "base", "/etc/sudoers.d/houblon")
    done = run(need("visudo"), "-cf", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def test_preflight_is_a_script_that_finds_nothing_wrong_here(site: sites.Site) -> None:
    script = site.role("firewall").preflight  # type: ignore[attr-defined]
    assert run("sh", "-n", stdin=script).returncode == 0
    assert " 51820 " in script


@pytest.mark.parametrize("role", ROLES)
def test_shell_of_the_role_parses(role: str, items: dict[str, list[Item]]) -> None:
    for item in items[role]:
        texts = [item.check, item.run] if isinstance(item, Ensure) else []
        if isinstance(item, Door):
            texts = [item.activate, item.validate, item.live, item.undo_extra]
        for text in texts:
            done = run("sh", "-n", stdin=text)
            assert done.returncode == 0, f"{key(item)}: {done.stderr}"
