"""Nextcloud as houblon runs it against Debian's untuned defaults: requests, processor time and memory, as ratios.

`sudo .venv/bin/python bench/nextcloud.py [--requests N] [--rounds N]` brings up a lab host, applies a site with
Nextcloud to it, and puts the same Nextcloud beside it as it is for who changes nothing: Debian's `www` pool, Debian's
PostgreSQL, neither APCu nor Redis. Same code, same people and files, same nginx, same host, in one run, in turns. The
release must be in the artifact cache (`houblon artifacts fetch`).
"""

from __future__ import annotations

import gevent.monkey

gevent.monkey.patch_all()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from houblon.lab import Lab  # noqa: E402
from tests.host.cloud import make_cloud  # noqa: E402

INSIDE = Path(__file__).with_name("nextcloud_inside.py")
STOCK = Path(__file__).with_name("nextcloud_stock.sh")
FILES = 20


def main() -> None:
    """Print a JSON object, and the tables of bench/README.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=150, help="of each kind, for each side, in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lab = Lab.up(f"bn{os.getpid()}", hosts=1, owner_pid=os.getpid())
    cloud = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            cloud = make_cloud(lab, Path(folder) / "site")
            anna = cloud.person("anna")
            for number in range(FILES):
                anna.put(f"file{number}.txt", b"houblon\n" * 1000)
            token = anna.app().password
            cloud.host.console(["sh", "-c", "cat >/root/stock.sh"], input=STOCK.read_bytes())
            cloud.host.console(["sh", "-c", "cat >/root/inside.py"], input=INSIDE.read_bytes())
            cloud.host.console(["sh", "-eu", "/root/stock.sh", cloud.fqdn])
            asked = json.dumps({
                "fqdn": cloud.fqdn, "name": "anna", "token": token, "files": FILES, "requests": options.requests,
                "rounds": options.rounds,
            })  # fmt: skip
            done = cloud.host.console(["python3", "/root/inside.py"], input=asked.encode())
            numbers = json.loads(done.stdout)
    finally:
        if cloud is not None and cloud.relay is not None:
            cloud.relay.stop()
        lab.down()
    print(json.dumps(numbers, indent=1))
    print(tables(numbers))


def tables(numbers: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown for bench/README.md."""
    ours, stock = numbers["houblon"], numbers["stock"]
    lines = [
        "| | houblon | Debian's defaults | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for key, name in (("status", "status.php"), ("propfind", "PROPFIND, app token"), ("login", "login page")):
        for what, unit in (("per_second", "requests a second"), ("cpu_ms", "ms of processor time, all of it"),
                           ("php_ms", "ms, PHP alone")):  # fmt: skip
            a, b = ours[key][what], stock[key][what]
            lines.append(f"| {name}, {unit} | {a:.1f} | {b:.1f} | {a / b:.2f} |")
    for key, name in (("at_rest_mb", "at rest"), ("busy_mb", "after the last round, workers still there")):
        a, b = ours["memory"][key], stock["memory"][key]
        lines.append(f"| memory, {name} (PSS, MB) | {a:.0f} | {b:.0f} | {a / b:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
