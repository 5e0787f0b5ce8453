"""The part of nextcloud.py that runs on the lab host, with Python's standard library alone."""

import base64
import http.client
import json
import ssl
import statistics
import sys
import threading
import time
from pathlib import Path

ASKED = json.load(sys.stdin)
FQDN = ASKED["fqdn"]
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE
BASIC = {"Authorization": "Basic " + base64.b64encode(f"{ASKED['name']}:{ASKED['token']}".encode()).decode()}
KINDS = {
    "status": ("GET", "/status.php", {}, 200, b'"installed":true'),
    "propfind": ("PROPFIND", f"/remote.php/dav/files/{ASKED['name']}/", BASIC | {"Depth": "1"}, 207, b"file0.txt"),
    "login": ("GET", "/login", {}, 200, b"</html>"),
}
SLICE = Path("/sys/fs/cgroup/system.slice")
VERSION = next(Path("/etc/php").iterdir()).name
PG = next(Path("/etc/postgresql").iterdir()).name
SIDES = {
    "houblon": (8443, ["houblon-php-nextcloud.service"], [f"postgresql@{PG}-main.service", "redis-server.service"]),
    "stock": (8444, [f"php{VERSION}-fpm.service"], [f"postgresql@{PG}-stock.service"]),
}
AT_ONCE = 4


def group(unit):
    found = [path for path in Path("/sys/fs/cgroup").rglob(unit) if path.is_dir()]
    assert len(found) == 1, (unit, found)
    return found[0]


def cpu(units):
    """Processor time so far, in milliseconds."""
    lines = [line for unit in units for line in (group(unit) / "cpu.stat").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("usage_usec")) / 1000


def memory(units):
    """Memory that is theirs, shared pages in shares (PSS), in MB."""
    total = 0
    for unit in units:
        for file in group(unit).rglob("cgroup.procs"):
            for pid in file.read_text().split():
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


class Line:
    """One connection, kept open; names lead to loopback."""

    def __init__(self, port):
        self.line = http.client.HTTPSConnection("127.0.0.1", port, context=CONTEXT, timeout=120)

    def ask(self, kind):
        method, path, headers, status, contains = KINDS[kind]
        self.line.request(method, path, headers=headers | {"Host": FQDN})
        answer = self.line.getresponse()
        body = answer.read()
        assert answer.status == status and contains in body, (kind, answer.status, body[:300])


def run(port, kind, count):
    """So many requests, a few at once; seconds that they took."""
    errors = []

    def work(number):
        try:
            line = Line(port)
            for _ in range(number):
                line.ask(kind)
        except Exception as error:
            errors.append(repr(error))

    workers = [threading.Thread(target=work, args=(count // AT_ONCE,)) for _ in range(AT_ONCE)]
    started = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        sys.exit(errors[0])
    return time.monotonic() - started


def main():
    found = {side: {kind: {"per_second": [], "cpu_ms": [], "php_ms": []} for kind in KINDS} for side in SIDES}
    count = ASKED["requests"] // AT_ONCE * AT_ONCE
    rest = {}
    for port, _, _ in SIDES.values():
        for kind in KINDS:
            # One at a time at first: without Redis there are no locks, and what Nextcloud writes about somebody whom it
            # sees for the first time ends with an error when four requests do it at once.
            line = Line(port)
            for _ in range(3):
                line.ask(kind)
            run(port, kind, 3 * AT_ONCE)
    for _ in range(ASKED["rounds"]):
        for kind in KINDS:
            for side, (port, php, others) in SIDES.items():
                before, php_before = cpu(php + others), cpu(php)
                seconds = run(port, kind, count)
                numbers = found[side][kind]
                numbers["per_second"].append(count / seconds)
                numbers["cpu_ms"].append((cpu(php + others) - before) / count)
                numbers["php_ms"].append((cpu(php) - php_before) / count)
    busy = {}
    for side, (port, php, others) in SIDES.items():
        run(port, "propfind", count)
        busy[side] = memory(php + others)
    # With houblon idle workers leave after half a minute, one after the other; some of Debian's stay.
    time.sleep(90)
    for side, (_, php, others) in SIDES.items():
        rest[side] = memory(php + others)
    result = {
        side: {kind: {what: statistics.median(all_) for what, all_ in numbers.items()} for kind, numbers in of.items()}
        | {"memory": {"at_rest_mb": rest[side], "busy_mb": busy[side]}}
        for side, of in found.items()
    }
    json.dump(result | {"load": Path("/proc/loadavg").read_text().strip()}, sys.stdout)


main()
