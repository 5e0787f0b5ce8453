"""Causes among what the host serves: units, web names, certificates, checks of roles, failed logins."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .book import DAY, HOUR, MINUTE, Finding
from .run import Unknown, output
from .words import Say

LOOP_RESTARTS, LOOP_SECONDS = 3, 10 * MINUTE
"""This many restarts by systemd within this time are a loop, however alive the unit looks in between."""
GONE_PATIENCE = 90
"""A unit that is not active in two looks; a restart in between is nobody's business."""
APPLY_PATIENCE = 15 * MINUTE
"""The same while an apply is at work: the first one starts units one after the other, for minutes."""
HOLDER = Path("/run/houblon/holder")
LIFETIME_LEFT = 0.25
"""The same as `houblon verify`: certbot renews when a third of the lifetime is left."""
COMMAND_SECONDS = 30
TLS = Path("/etc/houblon/tls")
Config = Mapping[str, Any]
Memory = dict[str, Any]

# --- units ------------------------------------------------------------------------------------------------


def units(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Every unit that has failed, whoever made it, and every claimed one that does not run or keeps dying."""
    known = show([*failed(), *config["units"]])
    for name, unit in sorted(known.items()):
        role = config["units"].get(name)
        if name.startswith("houblon-alert@") and unit.get("Result") == "start-limit-hit":
            continue  # it was to tell of a unit that dies too often, and that is told
        if unit["ActiveState"] == "failed":
            yield failure(name, unit.get("Result", ""), role, config, say)
        elif role and unit["ActiveState"] != "active":
            yield Finding(
                f"unit:{name}",
                say(en=f"{name} does not run", fr=f"{name} ne tourne pas"),
                _advice(name, role, config, say), patience=patience(now),
            )  # fmt: skip
    counts: dict[str, list[list[int]]] = memory.setdefault("restarts", {})
    for name, unit in known.items():
        seen = [one for one in counts.get(name, ()) if now - one[0] <= LOOP_SECONDS]
        count = int(unit.get("NRestarts") or 0)
        if seen and count < seen[-1][1]:
            seen = []  # somebody started it by hand, and systemd counts anew
        counts[name] = [*seen, [now, count]]
        if count - counts[name][0][1] >= LOOP_RESTARTS:
            yield Finding(
                f"loop:{name}",
                say(en=f"{name} keeps dying", fr=f"{name} meurt et redémarre sans cesse"),
                _advice(name, config["units"].get(name), config, say),
            )
    for name in set(counts) - set(known):
        del counts[name]


def patience(now: int) -> int:
    """How long what is claimed may be down: longer while somebody changes the host.

    A run that was killed may leave its mark behind; none takes an hour.
    """
    try:
        return APPLY_PATIENCE if now - HOLDER.stat().st_mtime < HOUR else GONE_PATIENCE
    except OSError:
        return GONE_PATIENCE


def failure(name: str, result: str, role: str | None, config: Config, say: Say) -> Finding:
    """A unit that systemd has given up on."""
    why = f" ({result})" if result not in ("", "success") else ""
    return Finding(
        f"unit:{name}",
        say(en=f"{name} has failed{why}", fr=f"{name} a échoué{why}"), _advice(name, role, config, say),
    )  # fmt: skip


def down(config: Config) -> dict[str, list[str]]:
    """Claimed units that are not active, by role."""
    found: dict[str, list[str]] = {}
    for name, unit in show(list(config["units"])).items():
        if unit["ActiveState"] not in ("active", "reloading"):
            found.setdefault(config["units"][name], []).append(name)
    return found


def failed() -> list[str]:
    """Names of all failed units."""
    lines = output(["systemctl", "list-units", "--failed", "--all", "--plain", "--no-legend", "--no-pager"])
    return [line.replace("●", " ").split()[0] for line in lines.splitlines() if line.strip()]


def show(names: list[str]) -> dict[str, dict[str, str]]:
    """What systemd says of these units."""
    if not names:
        return {}
    wanted = ["Id", "Names", "ActiveState", "SubState", "Result", "NRestarts"]
    text = output(["systemctl", "show", "-p", ",".join(wanted), "--", *dict.fromkeys(names)])
    found = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name in set(unit.get("Names", "").split()) & set(names):
            found[name] = unit
    return found


def journal_of(name: str) -> str:
    """A unit's last words."""
    try:
        return output(["journalctl", "-u", name, "-n", "8", "--no-pager", "-o", "cat", "-q"])[-1200:].strip()
    except Unknown:
        return ""


def _advice(name: str, role: str | None, config: Config, say: Say) -> str:
    title = config["titles"].get(role, role)
    part = say(en=f"It is part of {title}. ", fr=f"Elle fait partie de {title}. ") if role else ""
    last = journal_of(name)
    words = "\n\n" + say(en="Its last words:", fr="Ses derniers mots :") + f"\n{last}" if last else ""
    return part + say(
        en=f"On the host, `systemctl status {name}` says more, and `systemctl restart {name}` tries again. "
        "From your machine, `houblon apply` mends what was changed, `houblon verify` shows whether all works.",
        fr=f"Sur l’hôte, `systemctl status {name}` en dit plus, et `systemctl restart {name}` réessaie. "
        "Depuis votre machine, `houblon apply` répare ce qui a été changé, `houblon verify` montre si tout marche.",
    ) + words


# --- web names --------------------------------------------------------------------------------------------


def sites(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Names that answer with an error of the server's, or not at all."""
    for fqdn, trouble in broken_sites(config).items():
        yield Finding(
            f"site:{fqdn}",
            say(en=f"https://{fqdn}/ does not work ({trouble})", fr=f"https://{fqdn}/ ne marche pas ({trouble})"),
            say(en="Visitors see an error. `houblon verify` says which part is broken.",
                fr="Les visiteurs voient une erreur. `houblon verify` dit quelle partie est cassée."),
            patience=patience(now),
        )  # fmt: skip


def broken_sites(config: Config) -> dict[str, str]:
    """Names that this host serves and that fail, with what they said; asked side by side."""
    names = sorted(config["vhosts"])
    with ThreadPoolExecutor(max_workers=8) as pool:
        return {name: said for name, said in zip(names, pool.map(ask_site, names), strict=True) if said}


def ask_site(fqdn: str) -> str:
    """What is wrong with a name, asked over TLS at this host's own door; empty when nothing is."""
    # Whether the certificate is good is another look's question: a self-signed site is up.
    context = ssl._create_unverified_context()  # noqa: S323
    line = http.client.HTTPSConnection("127.0.0.1", 443, timeout=5, context=context)
    try:
        line.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", 443), 5), server_hostname=fqdn)
        line.request("GET", "/", headers={"Host": fqdn, "User-Agent": "houblon-health"})
        status = line.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        line.close()
    return f"HTTP {status}" if status >= 500 else ""


# --- certificates -----------------------------------------------------------------------------------------


def certificates(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Certificates that should have been renewed by now, by the part of their lifetime that is left."""
    for name in config["certificates"]:
        try:
            text = output(["openssl", "x509", "-noout", "-startdate", "-enddate",
                           "-in", str(TLS / name / "fullchain.pem")])  # fmt: skip
            start, end = (_openssl_date(text, which) for which in ("notBefore", "notAfter"))
        except Unknown as error:
            yield Finding(
                f"certificate:{name}",
                say(en=f"the certificate of {name} cannot be read", fr=f"le certificat de {name} est illisible"),
                f"{error}\n" + say(en="`houblon apply` makes it again.", fr="`houblon apply` le refait."),
            )
            continue
        left, whole = end - now, max(end - start, 1)
        if left / whole > LIFETIME_LEFT:
            continue
        days = max(left, 0) // DAY
        what = (
            say(en=f"the certificate of {name} has ended", fr=f"le certificat de {name} a expiré") if left <= 0
            else say(en=f"the certificate of {name} ends in {days} days", fr=f"le certificat de {name} expire dans "
                     f"{days} jours") if days > 1
            else say(en=f"the certificate of {name} ends in {max(left, 0) // HOUR} hours",
                     fr=f"le certificat de {name} expire dans {max(left, 0) // HOUR} heures")
        )  # fmt: skip
        yield Finding(
            f"certificate:{name}", what,
            say(
                en=f"{max(left, 0) / whole:.0%} of its lifetime is left; it should have been renewed. See `journalctl "
                "-u certbot` on the host; `houblon apply` tries again and says what the authority objects to.",
                fr=f"Il reste {max(left, 0) / whole:.0%} de sa durée de vie ; il aurait dû être renouvelé. Voyez "
                "`journalctl -u certbot` sur l’hôte ; `houblon apply` réessaie et dit ce que l’autorité refuse.",
            ),
            grave=left / whole <= LIFETIME_LEFT / 2,
        )  # fmt: skip


def _openssl_date(text: str, which: str) -> int:
    found = re.search(rf"^{which}=(.+)$", text, re.M)
    if not found:
        raise Unknown(f"openssl shows no {which}")
    date = datetime.strptime(found[1].strip(), "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    return int(date.timestamp())


# --- checks that roles ask for ----------------------------------------------------------------------------


def commands(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """What roles want looked at: a command that fails, often enough in a row."""
    fails: dict[str, int] = memory.setdefault("fails", {})
    for one in config["commands"]:
        key = one["key"]
        try:
            done = subprocess.run(
                ["sh", "-c", one["command"]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=COMMAND_SECONDS, text=True, errors="replace", check=False,
            )  # fmt: skip
            status, said = done.returncode, done.stdout.strip()
        except subprocess.TimeoutExpired:
            said = say(en=f"no answer within {COMMAND_SECONDS} s", fr=f"pas de réponse en {COMMAND_SECONDS} s")
            status = -1
        fails[key] = fails.get(key, 0) + 1 if status != 0 else 0
        if fails[key] >= one["after"]:
            title = config["titles"].get(one["role"], one["role"])
            colon = say(en=": ", fr=" : ")
            yield Finding(f"check:{key}", f"{title}{colon}{one['what']}", said[-2000:])
    for key in set(fails) - {one["key"] for one in config["commands"]}:
        del fails[key]


# --- failed logins ----------------------------------------------------------------------------------------


def logins(config: Config, memory: Memory, now: int, say: Say) -> Iterator[Finding]:
    """Failed logins of the last hour, as fail2ban counts them for every service that has a door."""
    jails = "|".join(re.escape(name) for name in config["login_jails"])
    if not jails:
        return
    text = output(["journalctl", "-u", "fail2ban", "-q", "--no-pager", "-o", "cat", "--since", "-1h",
                   "-g", rf"\[({jails})\] (Found|Ban) "], fine=(0, 1))  # fmt: skip
    found = re.findall(rf"\[({jails})\] Found (\S+)", text)
    if len(found) < config["failed_logins"]:
        return
    doors = ", ".join(sorted({door for door, _ in found}))
    hosts, bans = len({address for _, address in found}), len(re.findall(r"\] Ban ", text))
    yield Finding(
        "logins",
        say(en=f"{len(found)} failed logins within an hour ({doors})",
            fr=f"{len(found)} connexions ratées en une heure ({doors})"),
        say(
            en=f"They came from {hosts} addresses, {bans} of which were shut out. Somebody is trying passwords. "
            "Nothing needs to be done as long as passwords are good; ask people not to use the same one elsewhere.",
            fr=f"Elles viennent de {hosts} adresses, dont {bans} ont été bannies. Quelqu’un essaie des mots de passe. "
            "Rien à faire tant qu’ils sont bons ; rappelez aux gens de ne pas réutiliser le leur ailleurs.",
        ),
        grave=False,
    )  # fmt: skip
