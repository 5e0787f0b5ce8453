"""`make demo`: the association example on a lab host, applied, verified, and ready to be looked at.

Runs as whoever calls it, who then owns the site folder; only the lab is made with sudo.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

import houblon
from houblon.artifacts import missing
from houblon.claims import Vhost
from houblon.cli.common import data_home
from houblon.errors import BadInput, Exit, HoublonError, Refused
from houblon.lab.demohost import NAME
from houblon.lab.machine import require_lab_tools
from houblon.site import FILE, load
from houblon.vault import Vault
from houblon.vault.trust import config_folder

EXAMPLE = Path(houblon.__file__).parent.parent / "inventories/association"
# What a lab takes from the environment, which sudo would drop.
PASSED = ("HOUBLON_LAB_DIR", "http_proxy", "https_proxy", "no_proxy")


def up() -> int:
    """Bring the demo up, or go on where an earlier one stopped; 0, or the exit status of what failed.

    :raises HoublonError: no lab can be had here, or this is no checkout.
    """
    if not (EXAMPLE / FILE).is_file():
        raise BadInput("the demo's example site is not here", cure="Run `make demo` in a checkout of houblon.")
    site = folder()
    say(f"A lab host for {NAME}.test (the first time, this builds a Debian: about two minutes)")
    public = _key(site)
    mark = site / ".local/lab"
    known = mark.read_text() if mark.exists() else ""
    lab = _as_root("up", known, stdin=public)
    if lab["id"] != known:
        say(f"Its site, from inventories/association, in {site}")
        _make_site(site, lab, public)
        _get_releases(site)
        # Last: a site that was not finished is made again.
        mark.write_text(lab["id"])
    status = _run(site, "apply", "--yes", "--accept-new", into=site / "apply.txt")
    if status == 0:
        print(f"  {_last(site / 'apply.txt', 'changes')} All of them: {site}/apply.txt")
        status = _run(site, "verify", "--html", str(site / "verify.html"))
    if status:
        say(f"That failed (exit status {status}). `make demo` tries again, `make demo-down` removes everything.")
        return status
    _explain(site, lab["address"])
    return Exit.OK


def down() -> int:
    """Remove the lab, the site folder, and what this machine remembers of the site's vault."""
    gone = _as_root("down")
    site = folder()
    _forget(site)
    if site.exists():
        shutil.rmtree(site)
    for empty in (site.parent, site.parent.parent, config_folder() / "sites", config_folder()):
        with suppress(OSError):
            empty.rmdir()
    print(f"The demo is removed{'' if gone['removed'] else ' (its lab was not up)'}.")
    print(f"If you added a line for {NAME}.test to /etc/hosts or its CA to a browser, remove these too.")
    print("The cached Debian stays for the next time: `sudo rm -r /var/cache/houblon-lab` frees its disk space.")
    return Exit.OK


def folder() -> Path:
    """Where `houblon plan demo` finds the site."""
    return data_home() / "sites" / NAME


def say(line: str) -> None:
    """A line about what comes next; flushed, so that it stands before what a child prints."""
    print(f"\n{line}", flush=True)


# --- inside ----------------------------------------------------------------------------------------------


def _as_root(command: str, *arguments: str, stdin: str = "") -> dict[str, str]:
    argv = [sys.executable, "-B", "-m", "houblon.lab.demohost", command, *arguments]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise Refused("the demo's lab needs root, and there is no sudo here", cure="Run it as root.")
        argv = ["sudo", f"--preserve-env={','.join(PASSED)}", "--", *argv]
    elif command == "up":
        require_lab_tools()
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise _Said(done.returncode)
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


class _Said(Exception):
    """The half that runs as root has said what is wrong."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _run(site: Path, command: str, *options: str, into: Path | None = None) -> int:
    """A houblon command as one would type it; its result may go to a file, its errors never do."""
    say(f"$ houblon {command} {NAME} {' '.join(options)}")
    argv = [sys.executable, "-m", "houblon", *command.split(), str(site), *options]
    if into is None:
        return subprocess.run(argv, check=False).returncode
    with into.open("w") as file:
        return subprocess.run(argv, stdout=file, check=False).returncode


def _last(file: Path, word: str) -> str:
    return next((line for line in reversed(file.read_text().splitlines()) if word in line.lower()), "")


def _key(site: Path) -> str:
    key = site / ".local/id_ed25519"
    public = key.with_suffix(".pub")
    # ssh-keygen writes the public half last.
    if not public.exists():
        shutil.rmtree(site, ignore_errors=True)
        key.parent.mkdir(mode=0o700, parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "houblon-demo", "-f", key], check=True)
    return public.read_text()


def _make_site(site: Path, lab: dict[str, str], public: str) -> None:
    _forget(site)
    for path in site.iterdir():
        if path.name != ".local":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (site / ".local/last-user").unlink(missing_ok=True)
    (site / "acme-ca.pem").write_text(lab["ca"])
    (site / "acme-roots.pem").write_text(lab["roots"])
    shutil.copy(EXAMPLE / "inventory.py", site)
    (site / FILE).write_text(_site_text((EXAMPLE / FILE).read_text(), lab, public.strip()))
    admins = {admin.name: list(admin.keys) for admin in load(site).admins}
    os.environ["HOUBLON_IDENTITY"] = str(site / ".local/id_ed25519")
    Vault.init(site, admins, next(iter(admins)), "ssh", None)


def _site_text(example: str, lab: dict[str, str], public: str) -> str:
    """The example with what it says to replace replaced."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 4096
    data = yaml.load(re.sub(r"\s*# replace.*| Replace what is marked.*", "", example))
    data["domain"] = lab["domain"]
    for number, admin in enumerate(data["admins"]):
        admin["email"] = f"{admin['name']}@{lab['domain']}"
        if number == 0:
            admin["keys"] = [public]
    data["host"].update({"address": lab["address"], "port": 22, "user": "root"})
    data["tls"] = {"directory": lab["directory"], "ca_bundle": "acme-ca.pem", "roots": "acme-roots.pem"}
    text = StringIO()
    text.write("# Made by `make demo` from inventories/association; `make demo-down` removes it.\n")
    yaml.dump(data, text)
    return text.getvalue()


def _get_releases(site: Path) -> None:
    """Download the releases that are not in the cache; a service whose release cannot be had is left out by name."""
    if not missing(load(site)):
        return
    _run(site, "artifacts fetch")
    lacking = missing(load(site))
    if not lacking:
        return
    yaml = YAML()
    yaml.width = 4096
    data = yaml.load(site / FILE)
    for artifact in lacking:
        data["services"].pop(artifact.role, None)
        say(f"Left out: {artifact.role}, because {artifact.name} {artifact.version} cannot be had from here. With its "
            f"archive: `houblon artifacts import FILE`, then `make demo-down demo`.")  # fmt: skip
    yaml.dump(data, site / FILE)


def _forget(site: Path) -> None:
    """Drop what this machine remembers of the vault that was here; a new one would look like a swap."""
    here = str((site / "vault").resolve())
    for pin in (config_folder() / "sites").glob("*.trust"):
        with suppress(OSError, ValueError):
            if json.loads(pin.read_text()).get("paths") == [here]:
                pin.unlink()


def _explain(site: Path, address: str) -> None:
    loaded = load(site)
    names = list(dict.fromkeys([loaded.domain, *(vhost.fqdn for vhost in loaded.claims(Vhost))]))
    command = Path(sys.executable).with_name("houblon")
    me = loaded.admins[0].name
    say("The demo is up, and verified. It serves")
    for name in names:
        print(f"  https://{name}/   (at {address})")
    print(f"""
To open it in a browser on this machine
  1. let its names be found:  echo '{address} {" ".join(names)}' | sudo tee -a /etc/hosts
  2. trust the lab's CA:      import {site}/acme-roots.pem
     (Firefox: Settings, Certificates, View Certificates, Authorities, Import)
Or without either
  curl --resolve {names[0]}:443:{address} --cacert {site}/acme-roots.pem https://{names[0]}/

What was checked:     {site}/verify.html
To play with it:      edit {site}/{FILE}, then
                      {command} plan {NAME}    (and apply, verify, status, history)
To add a person:      {command} user add zoe --name Zoé --invite link --site {NAME}
To log in:            ssh -i {site}/.local/id_ed25519 -o UserKnownHostsFile={site}/known_hosts {me}@{address}
To remove it all:     make demo-down""")


def main(arguments: list[str]) -> int:
    """``python -m houblon.lab.demo up|down``."""
    try:
        return down() if arguments == ["down"] else up()
    except _Said as said:
        return said.status
    except HoublonError as error:
        print(f"houblon: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; `make demo` goes on from here, `make demo-down` removes what there is", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
