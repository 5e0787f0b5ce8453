"""`houblon status`: what it makes of what real hosts said."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from houblon import claims as c
from houblon.cli import status as view
from houblon.connection import Result
from houblon.errors import Exit, OperationFailed
from houblon.site import Site
from houblon.status import (
    QUESTIONS,
    DiskLine,
    parse_certificates,
    parse_disks,
    parse_memory,
    parse_now,
    parse_reboot,
    parse_updates,
    status,
    understand,
)
from houblon.verify.probe import Frame, units_question

NOW = 1_795_320_161

DISKS = """\
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda1         20509264 17638364   1803768      91% /
/dev/vda15          126678    11840    114838      10% /boot/efi
/dev/vdb          51290592 50000000    100000      98% /srv/big data
/dev/vda          264212084 27696460  78694452      27% /run/host/os-release
Filesystem     1024-blocks     Used Available Capacity Mounted on
/dev/vda1         20509264 17638364   1803768      91% /
@
Filesystem      Inodes  IUsed   IFree IUse% Mounted on
/dev/vda1      1310720 144000 1166720   11% /
/dev/vda15           0      0       0     - /boot/efi
/dev/vdb       3276800 3200000  76800   98% /srv/big data
Filesystem      Inodes  IUsed   IFree IUse% Mounted on
/dev/vda1      1310720 144000 1166720   11% /
"""

UPDATES = """\
Listing...
base-files/stable 13.8+deb13u3 amd64 [upgradable from: 13.8+deb13u1]
libssl3t64/stable-security,stable-security 3.5.1-1+deb13u1 amd64 [upgradable from: 3.5.1-1]
openssl/stable,stable-security 3.5.1-1+deb13u1 amd64 [upgradable from: 3.5.1-1]
"""

UNITS = """\
Type=forking
Id=nginx.service
Names=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
StateChangeTimestamp=@1795310161

Type=notify
Id=toy.service
Names=toy.service
LoadState=loaded
ActiveState=failed
SubState=failed
Result=exit-code
StateChangeTimestamp=@1795319589
"""


def test_disks_are_told_once_and_without_a_container_s_binds() -> None:
    assert parse_disks(DISKS) == [
        DiskLine("/", 91, 1761, 11),
        DiskLine("/boot/efi", 10, 112, None),
        DiskLine("/srv/big data", 98, 97, 98),
    ]


def test_updates() -> None:
    assert parse_updates(UPDATES) == (3, 2)
    assert parse_updates("Listing...\n") == (0, 0)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ""),
        ("running 6.12.48+deb13-amd64\nnewest 6.12.48+deb13-amd64\n", ""),
        ("running 6.12.41+deb13-amd64\nnewest 6.12.48+deb13-amd64\n",
         "kernel 6.12.48+deb13-amd64 is installed, 6.12.41+deb13-amd64 runs"),
        ("required\nlinux-image-amd64\ndbus\ndbus\n", "linux-image-amd64, dbus"),
        ("required\n", "some package asks for it"),
        ("running 6.12.48+deb13-amd64\n", ""),
    ],
)  # fmt: skip
def test_reboot(text: str, why: str) -> None:
    assert parse_reboot(text) == why


def test_memory_and_time() -> None:
    assert parse_memory("MemTotal:       24684096 kB\nMemFree: 1 kB\nMemAvailable:   23263288 kB\n") == (24105, 22718)
    assert parse_now("1795320161\n4773.36 4142.34\n") == (NOW, 4773)


def pem(days_before: int, days_after: int, own: bool = False) -> str:
    key = ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.fromtimestamp(NOW, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name("x"))
        .issuer_name(name("x" if own else "Toy CA"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=days_before))
        .not_valid_after(now + timedelta(days=days_after))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


def test_certificates() -> None:
    text = (
        f"@ /etc/houblon/tls/a.test/\n{pem(30, 60)}{pem(0, 9)}@ /etc/houblon/tls/b.test/\n{pem(70, 20, own=True)}"
        "@ /etc/houblon/tls/c.test/\ncat: /etc/houblon/tls/c.test/fullchain.pem: No such file or directory\n"
    )
    a, b, gone = parse_certificates(text, NOW)
    assert (a.name, a.issuer, a.days, a.fraction, a.ok) == ("a.test", "Toy CA", 60, pytest.approx(0.667), True)
    assert (b.name, b.issuer, b.days, b.ok) == ("b.test", "self-signed", 20, False)
    assert (gone.name, gone.issuer, gone.ok) == ("c.test", "missing or damaged", False)
    assert list(parse_certificates("", NOW)) == []


class FakeSite:
    name, folder = "test", Path()
    host = SimpleNamespace(address="192.0.2.1", port=22)
    admins = (SimpleNamespace(name="alice"),)
    roles = (
        SimpleNamespace(name="nginx", provides=()),
        SimpleNamespace(name="toy", provides=("alerts",), notes=lambda: iter(("nobody hears",))),
    )
    all_claims: tuple[c.Claim, ...] = (
        c.Unit("nginx.service", role="nginx"), c.Unit("toy.service", role="toy"), c.Port(443, role="nginx"),
        c.Listen(8000, role="toy"), c.Database("postgresql", "toy", role="toy"),
    )  # fmt: skip

    def claims(self, kind: type[c.Claim]) -> tuple[c.Claim, ...]:
        return tuple(claim for claim in self.all_claims if isinstance(claim, kind))


SITE = cast(Site, FakeSite())
ABOUT = {"sha256": "1" * 64, "mode": "0644", "owner": "root", "group": "root", "secret": False}
RECORD: dict[str, Any] = {
    "version": "0.1.0", "commit": "abcdef0123456789", "dirty": True, "by": "alice", "at": "2026-11-20T10:00:00+00:00",
    "result": "ok", "format": 1,
    "roles": {
        "nginx": {"files": {"/etc/nginx/nginx.conf": ABOUT, "/etc/systemd/system/toy.service": ABOUT},
                  "links": {"/etc/nginx/sites-enabled/toy": "/x"}, "claims": [], "people": []},
        "gone": {"files": {}, "links": {}, "people": ["bob"],
                 "claims": [{"claim": "Port", "number": 8448, "role": "gone"}, {"claim": "?"}]},
    },
}  # fmt: skip


def frames(record: Mapping[str, Any] | str | None = None, **other: str) -> dict[str, Frame]:
    """A healthy host's answers, with some replaced."""
    text = record if isinstance(record, str) else "" if record is None else json.dumps(record)
    found = {name: Frame(0, "") for name in QUESTIONS} | {
        "now": Frame(0, f"{NOW}\n4773.36 4142.34"), "record": Frame(0, text), "units": Frame(0, UNITS),
        "lists": Frame(0, str(NOW - 3600)), "memory": Frame(0, "MemTotal: 2048 kB\nMemAvailable: 1024 kB"),
        "files": Frame(0, f"644\troot\troot\tregular file\t/etc/nginx/nginx.conf\n"
                          f"644\troot\troot\tregular file\t/etc/systemd/system/toy.service\n"
                          f"{'2' * 64}  /etc/nginx/nginx.conf\n{'1' * 64}  /etc/systemd/system/toy.service\n"
                          "777\troot\troot\tsymbolic link\t/etc/nginx/sites-enabled/toy\n"
                          "/x\t/etc/nginx/sites-enabled/toy"),
    }  # fmt: skip
    return found | {name.replace("_", " "): Frame(0, text) for name, text in other.items()}


def test_a_host_that_was_applied_to() -> None:
    seen = understand(SITE, frames(RECORD, updates=UPDATES, disks=DISKS))
    assert seen.problems == [
        "toy.service (toy) is failed (failed)",
        "/srv/big data is 98 % full",
        "/srv/big data has 98 % of its inodes used",
    ]
    assert seen.exit_code is Exit.VERIFICATION_FAILED
    assert seen.applied is not None and seen.applied["by"] == "alice"
    assert [d.path for d in seen.drift] == ["/etc/nginx/nginx.conf"]
    assert seen.unmanaged == ["gone"]
    assert (seen.updates, seen.security_updates) == (3, 2)
    assert any("gone: no longer managed" in line for line in seen.remarks)
    data = json.loads(json.dumps(seen.to_json()))
    assert data["ok"] is False and data["at"] == "2026-11-22T04:02:41+00:00" and data["units"][0]["since"] == 1795310161


def test_a_host_nobody_applied_to_has_nothing_to_answer_for() -> None:
    seen = understand(SITE, frames(None))
    assert seen.problems == [] and seen.exit_code is Exit.OK
    assert seen.remarks == ["never applied: run `houblon plan`, then `houblon apply`"]
    assert seen.applied is None


def test_that_nobody_hears_of_alarms_is_said() -> None:
    assert "nobody hears" in understand(SITE, frames(RECORD)).remarks


@pytest.mark.parametrize(
    ("heartbeat", "says"),
    [
        (json.dumps({"at": NOW - 290, "state": "ill"}), ""),
        (json.dumps({"at": NOW - 310, "state": "ok"}), "nobody has looked at the host since 2026-11-22T03:57:31"),
        (json.dumps({"at": NOW + 86400}), "nobody has looked at the host yet"),
        (json.dumps({"at": "now"}), "nobody has looked at the host yet"),
        (json.dumps({"at": 10**30}), "nobody has looked at the host yet"),
        ("", "nobody has looked at the host yet"), ("[]", "nobody has looked at the host yet"),
    ],
)  # fmt: skip
def test_that_nobody_looks_is_a_problem(heartbeat: str, says: str) -> None:
    record = copy.deepcopy(RECORD)
    record["roles"]["toy"] = {"files": {}, "links": {}, "people": [], "claims": []}

    def said(**other: str) -> str:
        problems = understand(SITE, frames(record, heartbeat=heartbeat, **other)).problems
        return "; ".join(line for line in problems if "nobody has looked" in line)

    assert said().startswith(says) and bool(said()) == bool(says)
    assert said(now=f"{NOW}\n40.0 1.0") == "", "it has booted just now"
    record["roles"].pop("toy")
    assert said() == "", "who looks is not there yet"


@pytest.mark.parametrize(
    ("result", "words"), [("running", "did not end"), ("failed", "failed")],
)  # fmt: skip
def test_an_apply_that_did_not_end_well_is_a_problem(result: str, words: str) -> None:
    record = copy.deepcopy(RECORD) | {"result": result}
    assert any(words in line for line in understand(SITE, frames(record)).problems)


@pytest.mark.parametrize("text", ["{", "[]", '{"roles": []}', '{"roles": {"a": {"files": {"/x": {}}}}}', "null"])
def test_a_damaged_record_is_a_problem(text: str) -> None:
    assert any("damaged" in line for line in understand(SITE, frames(text)).problems)


def test_what_is_unknown_is_said() -> None:
    answers = frames(RECORD, lists="") | {"tables": Frame(1, "nft: boom")}
    seen = understand(SITE, answers)
    assert seen.updates is None
    assert "updates unknown: package lists were last read never" in seen.remarks
    assert "nftables tables unknown: `nft list tables` fails on the host" in seen.remarks
    assert understand(SITE, frames(RECORD, lists=str(NOW - 9 * 86400))).updates is None
    assert understand(SITE, frames(RECORD) | {"updates": Frame(100, "E: boom")}).updates is None


def test_foreign_things_and_ours() -> None:
    seen = understand(
        SITE,
        frames(
            RECORD,
            vhosts="/etc/nginx/sites-enabled/toy\n/etc/nginx/sites-enabled/blog\n",
            databases="@ postgresql\ntoy\nblog\n@ mariadb\ntoy\n",
            own_units="/etc/systemd/system/toy.service\n/etc/systemd/system/miner.service\n",
            tables="table inet houblon\ntable inet f2b-table\ntable ip docker\n",
            people="alice\nbob\neve\n",
            listen="tcp LISTEN 0 1 0.0.0.0:443 0.0.0.0:* users:((\"nginx\",pid=1,fd=1))\n"
            "tcp LISTEN 0 1 0.0.0.0:22 0.0.0.0:*\ntcp LISTEN 0 1 *:8448 *:*\n"
            "tcp LISTEN 0 1 127.0.0.1:9 0.0.0.0:*\n"
            'tcp LISTEN 0 1 0.0.0.0:6666 0.0.0.0:* users:(("eggdrop",pid=1,fd=1))\n'
            'tcp LISTEN 0 1 [::]:6666 [::]:* users:(("eggdrop",pid=1,fd=1))\n'
            "udp UNCONN 0 0 0.0.0.0:443 0.0.0.0:*\n",
        ),
    )
    assert seen.foreign == [
        "nginx configuration /etc/nginx/sites-enabled/blog",
        "postgresql database blog",
        "mariadb database toy",
        "unit miner.service",
        "nftables table ip docker",
        "user eve",
        "eggdrop listens on tcp/6666",
        "something listens on udp/443",
    ]


def test_the_real_questions_are_answered_on_any_machine() -> None:
    class Local:
        def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
            done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
            return Result(done.returncode, done.stdout, done.stderr)

    seen = status(SITE, Local())
    assert abs(seen.at - datetime.now(UTC).timestamp()) < 60 and seen.uptime > 0
    assert any(disk.mount == "/" for disk in seen.disks) and seen.memory_mb[0] > 0
    assert view.rows(seen)

    class Cut(Local):
        def run(self, script: str, stdin: bytes = b"", timeout: float | None = None) -> Result:
            return Result(0, super().run(script).stdout[:200], "")

    with pytest.raises(OperationFailed):
        status(SITE, Cut())


def test_overview_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view.out.console, "width", 200)
    view.show(understand(SITE, frames(RECORD, certificates=f"@ /etc/houblon/tls/a.test/\n{pem(30, 60)}")))
    text = capsys.readouterr().out
    for words in ("✗ toy.service (toy) is failed", "1 of 2 units run", "nginx.service, 2 h 46 min ago", "Toy CA",
                  "60 days left (67%)", "by alice, houblon 0.1.0, commit abcdef0123+", "1 in nginx"):  # fmt: skip
        assert words in text, text


def test_spans() -> None:
    assert [view.span(s) for s in (-5, 59, 3599, 3600, 86400 + 7200)] == [
        "0 min", "0 min", "59 min", "1 h 0 min", "1 d 2 h",
    ]  # fmt: skip


def test_nothing_to_ask_about_units() -> None:
    assert units_question([]) == ":"
