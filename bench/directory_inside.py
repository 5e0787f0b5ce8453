"""The part of directory.py that runs on the lab host, with Python's standard library alone.

It speaks LDAP (RFC 4511) itself, a few bytes of BER, so that no client's start is in the times.
"""

import ctypes
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

SOCKET = "/run/slapd/ldapi"
ROOT = "-Q -Y EXTERNAL -H ldapi://%2Frun%2Fslapd%2Fldapi"
PASSWORD = "correct horse battery"  # noqa: S105 - of people made up for the bench
ARGON = ctypes.CDLL("libargon2.so.1")


def ber(tag, *parts):
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def number(value, tag=2):
    return ber(tag, value.to_bytes(4, "big"))


def text(value, tag=4):
    return ber(tag, value.encode())


class Line:
    """One connection; answers are read until the result of the operation."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(SOCKET)
        self.file = self.socket.makefile("rb")

    def ask(self, operation, end):
        self.socket.sendall(ber(0x30, number(1), operation))
        entries = 0
        while True:
            self.file.read(1)
            size = self.file.read(1)[0]
            if size & 0x80:
                size = int.from_bytes(self.file.read(size & 0x7F), "big")
            message = self.file.read(size)
            skip = 2 + message[1]
            if message[skip] == end:
                at = skip + 2 + (message[skip + 1] & 0x7F if message[skip + 1] & 0x80 else 0)
                return message[at + 2], entries
            entries += 1

    def bind(self, dn, password):
        code, _ = self.ask(ber(0x60, number(3), text(dn), text(password, 0x80)), 0x61)
        if code:
            sys.exit(f"login of {dn}: {code}")

    def search(self, uid):
        query = ber(0xA3, text("uid"), text(uid))
        wanted = ber(0x30, text("uid"), text("cn"), text("mail"), text("memberOf"))
        operation = ber(0x63, text("ou=people,o=houblon"), number(2, 10), number(0, 10), number(0), number(0),
                        ber(1, b"\0"), query, wanted)
        code, entries = self.ask(operation, 0x65)
        if code or entries != 1:
            sys.exit(f"search for {uid}: {code}, {entries} entries")


def login(name):
    line = Line()
    line.bind(f"uid={name},ou=people,o=houblon", PASSWORD)
    line.socket.close()


def argon(_):
    out = ctypes.create_string_buffer(32)
    # t=2, m=19456 KiB, p=1: the parameters in slapd.conf. ctypes lets other threads run meanwhile.
    if ARGON.argon2id_hash_raw(2, 19456, 1, PASSWORD.encode(), len(PASSWORD), b"0123456789abcdef", 16, out, 32):
        sys.exit("argon2 failed")


def slapd_seconds():
    """Processor seconds that slapd has used."""
    pid = shell("systemctl show -P MainPID slapd")[1].strip()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times(task, names, at_once):
    """Milliseconds of each, how many in a second, and processor time of each in slapd and here."""
    todo, took, lock = list(names), [], threading.Lock()

    def work():
        while True:
            with lock:
                if not todo:
                    return
                name = todo.pop()
            started = time.perf_counter()
            task(name)
            took.append((time.perf_counter() - started) * 1000)

    cpu, mine, started = slapd_seconds(), time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = len(names) / (time.perf_counter() - started)
    each = 1000 / len(names)
    return {
        "median_ms": round(statistics.median(took), 2),
        "per_second": round(rate, 1),
        "slapd_cpu_ms": round((slapd_seconds() - cpu) * each, 2),
        "own_cpu_ms": round((time.process_time() - mine) * each, 2),
    }


def shell(command):
    started = time.perf_counter()
    done = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr[-500:]}")
    return round(time.perf_counter() - started, 2), done.stdout


def memory():
    """Proportional share and anonymous part of slapd's memory, in MiB."""
    pid = shell("systemctl show -P MainPID slapd")[1].strip()
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    lines = dict(row.split()[:2] for row in rows)
    return {"pss": round(int(lines["Pss:"]) / 1024, 1), "anonymous": round(int(lines["Pss_Anon:"]) / 1024, 1)}


def entries(ldif):
    return sum(line.startswith("dn: ") for line in ldif.splitlines())


def main():
    people, logins = int(sys.argv[1]), int(sys.argv[2])
    found = {"people": people, "load": os.getloadavg()[0], "memory_empty_mib": memory()}
    accounts = "/usr/local/lib/houblon/accounts"
    shell(f"{accounts} dump >/root/empty.ldif")
    found["add_s"] = shell(f"ldapadd {ROOT} -f /root/people.ldif")[0]
    shell(f"{accounts} restore </root/empty.ldif")
    found["add_one_transaction_s"] = shell(f"ldapadd {ROOT} -E txn=commit -f /root/people.ldif")[0]
    found["memory_added_mib"] = memory()
    shell("systemctl restart slapd")
    found["memory_rest_mib"] = memory()

    query = "-b ou=people,o=houblon '(objectClass=houblonPerson)'"
    reader = "-x -H ldapi://%2Frun%2Fslapd%2Fldapi -D cn=reader,ou=services,o=houblon -y /root/reader.pw"
    for name, who in (("root", ROOT), ("role", reader)):
        found[f"list_{name}_s"], text = shell(f"ldapsearch -LLL {who} {query}")
        found[f"listed_{name}"] = entries(text)
    found["memory_listed_mib"] = memory()

    # Even ones: the reader sees those alone.
    names = [f"person{n:05}" for n in range(0, people, max(2, people // logins // 2 * 2))][:logins]
    change = "changetype: modify\nreplace: userPassword\nuserPassword: " + PASSWORD
    text = "".join(f"dn: uid={name},ou=people,o=houblon\n{change}\n\n" for name in names)
    Path("/root/passwords.ldif").write_text(text)
    took = shell(f"ldapmodify {ROOT} -f /root/passwords.ldif")[0]
    found["set_password_ms"] = round(took * 1000 / len(names), 1)

    times(login, names, 2)  # the first login of the day is also a write
    line = Line()
    line.bind("cn=reader,ou=services,o=houblon", Path("/root/reader.pw").read_text())
    found["look_up"] = times(line.search, names, 1)
    for at_once in (1, 8):
        found[f"login_{at_once}"] = times(login, names, at_once)
        found[f"argon2_{at_once}"] = times(argon, names, at_once)
    found["memory_after_logins_mib"] = memory()

    data = "/var/lib/houblon-directory"
    shell(f"""runuser -u openldap -- mkdir {data}/bench
        sed 's|^directory .*|directory {data}/bench|' /etc/ldap/slapd.conf >/tmp/bench.conf
        {accounts} dump >/tmp/bench.ldif
        chmod 644 /tmp/bench.conf /tmp/bench.ldif""")
    found["slapadd_s"] = shell("runuser -u openldap -- slapadd -q -f /tmp/bench.conf -l /tmp/bench.ldif")[0]
    found["database_mib"] = round(Path(f"{data}/data.mdb").stat().st_blocks * 512 / 2**20, 1)
    found["load_after"] = os.getloadavg()[0]
    print(json.dumps(found))


main()
