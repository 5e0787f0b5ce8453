"""What claims cannot express: who gets in, and how far. Each user is tried with its real password."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from houblon.contract import tr
from houblon.roles.redis import SCRIPT, Redis
from houblon.software import REDIS
from houblon.verify import Broken, LeftOut
from houblon.verify.context import Context

CLI = f"redis-cli -s {REDIS} --no-auth-warning"
PROBE = "houblon-verify"


def ask(host: Any, snapshot: Context, role: str, user: str, *commands: str) -> list[str]:
    """Answers to commands of a user; its password goes to standard input and from there into the environment."""
    if snapshot.vault is None:
        raise LeftOut(tr(en="the vault is closed", fr="le coffre est fermé"))
    password = snapshot.vault.get(role, "redis").reveal()
    lines = "; ".join(f"{CLI} --user {user} {command}" for command in commands)
    script = f"read -r REDISCLI_AUTH; export REDISCLI_AUTH; {lines}"
    done = host.run(f"sh -c {shlex.quote(script)}", stdin=f"{password}\n".encode())
    return str(done.stdout).splitlines()


@pytest.mark.root
def test_it_answers(host: Any) -> None:
    """Redis answers over its socket."""
    done = host.run(f"{SCRIPT} ping")
    assert done.rc == 0, done.stderr.strip() or done.stdout.strip()


@pytest.mark.root
def test_each_service_logs_in(host: Any, role: Redis, snapshot: Context) -> None:
    """Each service gets in with its password, and writes and reads a key of its own."""
    for user in role.users():
        key = f"{user.name}:{PROBE}"
        answers = ask(host, snapshot, user.role, user.name, f"SET {key} yes EX 60", f"GET {key}", f"DEL {key}")
        if answers != ["OK", "yes", "1"]:
            raise Broken(
                tr(en=f"{user.name} uses Redis", fr=f"{user.name} utilise Redis"), " ".join(answers)[:200],
                tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
            )  # fmt: skip


@pytest.mark.root
def test_no_service_touches_the_keys_of_another(host: Any, role: Redis, snapshot: Context) -> None:
    """A service can touch no keys but its own, and neither look around in Redis nor change its settings."""
    for user in role.users():
        others = [other.name for other in role.users() if other.name != user.name] or ["somebody"]
        # Only what does no harm where it is allowed after all.
        forbidden = [f"GET {others[0]}:{PROBE}", f"TTL {others[0]}:{PROBE}", f"GET {PROBE}", "CLIENT LIST",
                     "CONFIG GET maxmemory", "ACL LIST", "SCAN 0"]  # fmt: skip
        for command, answer in zip(
            forbidden, ask(host, snapshot, user.role, user.name, *(f"{c} | head -n 1" for c in forbidden)), strict=True
        ):
            assert answer.startswith("NOPERM"), f"{user.name} may {command}: {answer[:80]}"


@pytest.mark.root
def test_nobody_gets_in_without_a_password(host: Any) -> None:
    """Who names no user is refused, and a stranger cannot even open the socket."""
    answer = host.run(f"{CLI} PING").stdout
    assert "NOAUTH" in answer, answer
    assert host.run(f"runuser -u nobody -- {CLI} PING").rc != 0, "nobody opens the socket"


@pytest.mark.root
def test_no_port_leads_to_it(host: Any) -> None:
    """Redis listens to its socket alone."""
    assert '"redis-server"' not in host.run("ss -Hltnp").stdout


@pytest.mark.root
def test_rights_in_force_are_the_wanted_ones(host: Any) -> None:
    """The users that Redis knows are those of the site file."""
    assert host.run(f"{SCRIPT} settled").rc == 0, "they are not; run `houblon apply`"
