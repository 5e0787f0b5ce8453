"""What 5,000 accounts cost the directory: adding, listing, looking up, logging in, memory.

`sudo .venv/bin/python bench/directory.py [--people N]` brings up a lab host, applies a site with the directory and one
reader to it, and measures on the host itself, in one run. A login is compared with what it cannot do without: one
Argon2id of the same parameters by the same library. Adding is compared with slapadd(8), which acknowledges nothing.
"""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from houblon import directory  # noqa: E402
from houblon.lab import Lab  # noqa: E402
from tests.host.sites import make_site  # noqa: E402

ROLE = '''"""A reader of the directory."""

from houblon.contract import Accounts, Config, Metadata, NoBackup, Role, Secret, tr


class Reader(Role[Config]):
    metadata = Metadata(title="Reader", summary=tr(en="R.", fr="L."), category="x", licence="CC0-1.0", homepage="")

    def claims(self):
        yield Accounts(groups=("choir",), needs=("mail",))
        yield Secret("directory")
        yield NoBackup(tr(en="Nothing.", fr="Rien."))

    def configure(self, kit):
        kit.file("/root/reader.pw", kit.secret("directory").reveal_bytes(), mode=0o600, secret=True)
'''
INSIDE = Path(__file__).with_name("directory_inside.py")


def ldif(people: int) -> str:
    """People without passwords, half of them in a group, as `houblon user import` would write them."""
    parts = []
    for number in range(people):
        name = f"person{number:05}"
        parts.append(
            f"dn: {directory.person_dn(name)}\nobjectClass: inetOrgPerson\nobjectClass: {directory.CLASS}\n"
            f"uid: {name}\ncn: Person {number:05}\ndisplayName: Person {number:05}\nsn: {number:05}\ngivenName: P\n"
            f"mail: {name}@bench.test\n{directory.RECOVERY}: {name}@elsewhere.test\n{directory.STATE}: active\n"
            f"{directory.LANGUAGE}: fr\n"
        )
    members = "".join(f"member: {directory.person_dn(f'person{n:05}')}\n" for n in range(0, people, 2))
    parts.append(
        f"dn: {directory.group_dn('choir')}\nobjectClass: {directory.GROUP_CLASS}\ncn: choir\n{members}"
    )
    return "\n".join(parts)


def main() -> None:
    """Print a JSON object, and a table for bench/README.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--logins", type=int, default=100)
    options = parser.parse_args()
    lab = Lab.up(f"bd{os.getpid()}", hosts=1, owner_pid=os.getpid())
    try:
        with tempfile.TemporaryDirectory() as folder:
            site = make_site(lab, Path(folder) / "site", services="  reader:\n")
            role = site.site_folder / "roles" / "reader"
            role.mkdir(parents=True)
            (role / "__init__.py").write_text(ROLE)
            site.cli("apply", "--yes", "--accept-new", timeout=1200)
            site.host.console(["sh", "-c", "cat >/root/people.ldif"], input=ldif(options.people).encode())
            site.host.console(["sh", "-c", "cat >/root/inside.py"], input=INSIDE.read_bytes())
            try:
                done = site.host.console(["python3", "/root/inside.py", str(options.people), str(options.logins)])
            except subprocess.CalledProcessError as error:
                sys.exit(error.stderr.decode())
            numbers = json.loads(done.stdout)
    finally:
        lab.down()
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
