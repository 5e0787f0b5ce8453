"""How long "nothing to do" takes: houblon and Ansible, without and with mitogen, on the same lab host in one run.

`sudo .venv/bin/python bench/noop.py [--runs N] [--ms 0,60]` brings up a lab host, applies the association example to
it, exports what houblon manages to an Ansible playbook, checks that neither finds anything to do, and takes the times.
"""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import argparse  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.ansible.export import CONFIG, export  # noqa: E402
from houblon.lab import Lab  # noqa: E402
from houblon.model import Model, build  # noqa: E402
from houblon.site import load  # noqa: E402
from houblon.vault import Vault  # noqa: E402

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "houblon-bench"
NEAR = "127.77.0.1"
"""Where the line to the host begins, on port 22: address and port are part of what houblon manages."""


@dataclass
class Took:
    """Wall clock and processor seconds of this machine, of each run."""

    wall: list[float]
    cpu: list[float]

    @property
    def text(self) -> str:
        return f"{statistics.median(self.wall):8.2f} {min(self.wall):8.2f} {statistics.median(self.cpu):8.2f}"


def ansible() -> Path:
    """A virtual environment with ansible-core and mitogen, kept between runs."""
    place = CACHE / "ansible"
    if not (place / "bin" / "ansible-playbook").exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin/pip", "install", "-q", "ansible-core", "mitogen"], check=True)
    return place


def make_site(lab: Lab, folder: Path) -> Model:
    """The association example, with keys, domain and CA of the lab, behind the line."""
    shutil.copytree(ROOT / "inventories" / "association", folder)
    local = folder / ".local"
    local.mkdir(mode=0o700)
    key = local / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "awa", "-f", key], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    lab.hosts[0].exec(["sh", "-c", "cat >>/root/.ssh/authorized_keys"], input=f"{public}\n".encode())
    shutil.copy(lab.acme_ca_bundle, folder / "acme-ca.pem")
    (folder / "acme-roots.pem").write_text(lab.issuing_roots())
    file = folder / "site.yaml"
    text = file.read_text().replace("houblonnieres.example", lab.domain).replace("192.0.2.20", NEAR)
    text = re.sub(r"ssh-ed25519 \S+ awa@portable", public, text, count=1)
    tls = f"tls:\n  directory: {lab.acme_directory}\n  ca_bundle: acme-ca.pem\n  roots: acme-roots.pem\n\n"
    text = text.replace("  user: debian", "  user: root").replace("services:", f"{tls}services:")
    file.write_text(text)
    os.environ["HOUBLON_IDENTITY"] = str(key)
    Vault.init(folder, {"awa": [public]}, "awa", "ssh", None)
    with line(lab.hosts[0].address, 0):
        houblon("apply", folder, "--yes", "--accept-new")
    return build(load(folder), Vault(folder))


def houblon(command: str, folder: Path, *options: str) -> str:
    command_line = [sys.executable, "-m", "houblon", command, str(folder), *options]
    done = subprocess.run(command_line, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise SystemExit(f"houblon {command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def play(folder: Path, mitogen: bool) -> str:
    """One cold run of the playbook: no connection is left from an earlier one."""
    place = ansible()
    plugin = next(place.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"))
    extra = f"strategy_plugins = {plugin}\nstrategy = mitogen_linear\n" if mitogen else ""
    config = folder / "ansible.cfg"
    config.write_text(CONFIG.format(folder=folder, mitogen=extra))
    done = subprocess.run(
        [place / "bin/ansible-playbook", "-i", folder / "inventory.json", "-e", f"ansible_host={NEAR}",
         folder / "playbook.yml"],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "ANSIBLE_CONFIG": str(config), "PATH": f"{place / 'bin'}:{os.environ['PATH']}"},
    )  # fmt: skip
    for shared in (folder / "cp").glob("*"):
        subprocess.run(["ssh", "-S", shared, "-O", "exit", "target"], capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"ansible-playbook: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def changed(output: str) -> list[str]:
    """Names of the tasks that changed something."""
    found = re.findall(r"TASK \[([^\n]*)\] \*+\n(?:[^\n]*\n)*?(changed|ok|skipping):", output)
    return [name for name, result in found if result == "changed"]


@contextmanager
def line(target: str, one_way: float) -> Iterator[None]:
    """Reach the host under `NEAR`, with this delay in ms."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "bench/delayline.py", f"{NEAR}:22", f"{target}:22", str(one_way)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"the slow line cannot listen on {NEAR}, port 22: does an sshd here listen on all addresses?")
    try:
        yield
    finally:
        process.kill()
        process.wait()


def timed(runs: int, work: object, *arguments: object) -> Took:
    took = Took([], [])
    for _ in range(runs):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        work(*arguments)  # type: ignore[operator]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.wall.append(time.monotonic() - started)
        took.cpu.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return took


def measure(folder: Path, playbook: Path, host: str, milliseconds: int, runs: int) -> Iterator[tuple[str, Took]]:
    """Each at one delay; `status` is measured here because a stopwatch in a test judges the machine."""
    with line(host, milliseconds / 2):
        yield "houblon plan", timed(runs, houblon, "plan", folder)
        yield "houblon apply", timed(runs, houblon, "apply", folder, "--yes")
        yield "houblon status", timed(runs, houblon, "status", folder)
        yield "Ansible + mitogen", timed(max(1, runs // 2), play, playbook, True)
        yield "Ansible", timed(max(1, runs // 3), play, playbook, False)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5, help="of houblon; mitogen gets half as many, Ansible a third")
    options.add_argument("--ms", default="0,60", help="round-trip times")
    given = options.parse_args()
    ansible()
    lab = Lab.up(f"bench{os.getpid()}", owner_pid=os.getpid())
    with tempfile.TemporaryDirectory(prefix="houblon-bench-") as temporary:
        try:
            folder, playbook = Path(temporary) / "site", Path(temporary) / "ansible"
            model = make_site(lab, folder)
            vault = Vault(folder)
            count = export(
                model, playbook, user="awa", identity=folder / ".local/id_ed25519",
                password=str(vault.get("base", "sudo-awa").reveal()),
            )  # fmt: skip
            address = lab.hosts[0].address
            shutil.copy(folder / "known_hosts", playbook)
            with line(address, 0):
                left = changed(play(playbook, True))
                plan = houblon("plan", folder)
            print(f"{sum(len(b.items) for b in model.batches)} resources, {count} Ansible tasks; then: "
                  f"Ansible changes {left or 'nothing'}, houblon: {plan.strip().splitlines()[-1]}")  # fmt: skip
            for milliseconds in map(int, given.ms.split(",")):
                print(f"\nround trip {milliseconds} ms         wall s: median, least    control CPU s", flush=True)
                base = 0.0
                for name, took in measure(folder, playbook, address, milliseconds, given.runs):
                    base = base or statistics.median(took.wall)
                    print(f"  {name:<22} {took.text}   {statistics.median(took.wall) / base:6.1f} x", flush=True)
        finally:
            lab.down()


if __name__ == "__main__":
    main()
