"""Checks of the host as a whole: what is recorded, what leaks, what failed, what is open."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial

from houblon import claims as c
from houblon.claims import Text, tr
from houblon.errors import HoublonError
from houblon.resources import Release
from houblon.verify import Broken, LeftOut, not_measurable
from houblon.verify.check import Check
from houblon.verify.claim_checks import keeper
from houblon.verify.context import Context
from houblon.verify.probe import drift

LEAK_PLACES = "/etc /var/log /srv /opt /usr/local /run/systemd /var/lib/houblon /tmp /var/tmp"
SHORTEST_SECRET = 8
LONGEST_FILE = 4 * 1024 * 1024

# Perl, because every Debian has it (Essential) and grep would want the patterns in a file or in argv. A cut-off
# answer lacks its last line. Only files that everybody may read are opened.
_SEEK = r"""perl -e '
use strict; local $/ = undef; my @hex = split /\s+/, <STDIN>; my $longest = shift @ARGV;
my @want = map { pack("H*", $_) } @hex; my %number; @number{@want} = 0..$#want;
my $any = join "|", map { quotemeta } sort { length $b <=> length $a } @want; my $re = qr/($any)/;
open my $list, "-|", "find", @ARGV, "-xdev", "-type", "f", "-perm", "-004", "-size", "-" . $longest . "c",
  "-print0" or die;
for my $path (split /\0/, <$list> // "") {
  open my $file, "<:raw", $path or next; my $text = <$file>; close $file; my %seen;
  while (@want && defined $text && $text =~ /$re/g) { $seen{$number{$1}} = 1 }
  print "$_\t$path\n" for sort keys %seen;
}
print "end\n"' """


def from_host(x: Context) -> Iterator[Check]:
    """Checks that no single claim stands for; each is booked to the role that would mend it."""
    names = [role.name for role in x.site.roles]
    yield Check(keeper(x), "record", "", _record)
    yield Check(keeper(x), "failed units", "", _failed)
    recorded = {file.role for file in x.recorded}
    for name in names:
        if name in recorded:
            yield Check(name, "files", "", partial(_files, role=name))
        if any(file.secret for file in x.recorded if file.role == name):
            yield Check(name, "secret files", "", partial(_secret_files, role=name))
    for name in dict.fromkeys(claim.role for claim in x.claims(c.Secret)):
        yield Check(name, "no secret leaks", "", partial(_leaks, role=name))
    opener = next(iter(x.providers().get(c.Port, ())), keeper(x))
    for family in ("IPv4", "IPv6"):
        yield Check(opener, "nothing else is open", family, partial(_scan, family=family))


# --- the record -------------------------------------------------------------------------------------------


def _record(x: Context) -> None:
    expected = tr(en="houblon was applied and left a record", fr="houblon a été appliqué et a laissé une trace")
    try:
        record = x.record
        _ = x.recorded if record is None else [dict(section) for section in record["roles"].values()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Broken(
            expected,
            tr(en=f"/var/lib/houblon/state.json is damaged ({error})",
               fr=f"/var/lib/houblon/state.json est abîmé ({error})"),
            tr(en="Run `houblon apply`; restore the file from a backup if it refuses.",
               fr="Lancez `houblon apply` ; restaurez le fichier d'une sauvegarde s'il refuse."),
        ) from None  # fmt: skip
    if record is None:
        raise Broken(
            expected,
            tr(en="nothing was ever applied here", fr="rien n'a jamais été appliqué ici"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )


WORDS = {
    "missing": tr(en="missing", fr="absent"),
    "kind": tr(en="another kind of file", fr="un autre type de fichier"),
    "target": tr(en="leads elsewhere", fr="mène ailleurs"),
    "content": tr(en="content changed", fr="contenu modifié"),
    "mode": tr(en="mode changed", fr="droits modifiés"),
    "owner": tr(en="owner changed", fr="propriétaire modifié"),
}


def _files(x: Context, role: str) -> None:
    changed = drift([file for file in x.recorded if file.role == role], x.files)
    if changed:
        raise Broken(
            tr(en="its files are as the last apply left them",
               fr="ses fichiers sont tels que le dernier apply les a laissés"),
            _listed([Text(f"{f.path} ({WORDS[w].en})", f"{f.path} ({WORDS[w].fr})") for f, w in changed]),
            tr(en="`houblon plan` shows the difference, `houblon apply` restores them (lasting changes: overrides/).",
               fr="`houblon plan` montre la différence, `houblon apply` les rétablit (durable : overrides/)."),
        )  # fmt: skip


def _secret_files(x: Context, role: str) -> None:
    wrong = []
    for file in x.recorded:
        now = x.files.get(file.path)
        if file.role != role or not file.secret or now is None:
            continue
        if now.mode & 0o007 or (now.mode, now.owner, now.group) != (file.mode, file.owner, file.group):
            found = f"{file.path} ({now.mode:04o} {now.owner}:{now.group})"
            wrong.append(Text(found, found))
    if wrong:
        raise Broken(
            tr(en="files with its secrets are readable to their owner only",
               fr="les fichiers de ses secrets ne sont lisibles que par leur propriétaire"),
            _listed(wrong),
            tr(en="Run `houblon apply`; if others have accounts there, `houblon secret rotate` too.",
               fr="Lancez `houblon apply` ; si d'autres y ont un compte, `houblon secret rotate` aussi."),
        )  # fmt: skip


def _leaks(x: Context, role: str) -> None:
    if x.vault is None:
        not_measurable(tr(en="the vault was not opened", fr="le coffre n'a pas été ouvert"))
    mine = sorted(
        f"{path} ({name})" for owner, name, path in leaks(x) if owner == role
    )
    if mine:
        raise Broken(
            tr(en="none of its secrets lies in a file that everybody may read",
               fr="aucun de ses secrets n'est dans un fichier lisible par tous"),
            _listed([Text(text, text) for text in mine]),
            tr(en="Close or delete the file, then `houblon secret rotate` and `houblon apply`.",
               fr="Fermez ou supprimez le fichier, puis `houblon secret rotate` et `houblon apply`."),
        )  # fmt: skip


def leaks(x: Context) -> list[tuple[str, str, str]]:
    """Role, secret and path of each secret in a world-readable file; looked for once for all roles.

    The values travel on standard input, hex, and are never echoed.
    """
    if x.leaks is None:
        needles = []
        try:
            values = list(x.secret_values())
        except HoublonError as error:
            raise Broken(
                tr(en="the vault opens", fr="le coffre s'ouvre"), error.what, error.cure
            ) from None
        for role, name, value in values:
            # Of a key in several lines, any whole line gives it away; its first and last are the same in all.
            lines = [line.strip() for line in value.splitlines() if not line.startswith(b"-----")]
            needles += [(role, name, line) for line in lines[:3] if len(line) >= SHORTEST_SECRET]
        stdin = " ".join(needle.hex() for _, _, needle in needles).encode()
        script = f"set --; for p in {LEAK_PLACES}; do [ -d $p ] && set -- \"$@\" $p; done\n"
        # What is as upstream published it holds none of our secrets, and may be half a gigabyte.
        published = [r.path for r in map(Release, x.claims(c.Artifact)) if x.releases.state(r) == "good"]
        script += "".join(f"set -- \"$@\" -path {shlex.quote(path)} -prune -o\n" for path in published)
        answer = x.runner.run(f"{script}{_SEEK} {LONGEST_FILE} \"$@\"", stdin, 120)
        lines_out = answer.stdout.splitlines()
        if not lines_out or lines_out[-1] != "end":
            raise Broken(
                tr(en="the host's files can be searched", fr="on peut fouiller les fichiers de l'hôte"),
                answer.stderr.strip()[-200:] or "no answer",
            )
        found = []
        for line in lines_out[:-1]:
            number, _, path = line.partition("\t")
            role, name, _value = needles[int(number)]
            found.append((role, name, path))
        x.leaks = found
    return x.leaks


# --- units and ports --------------------------------------------------------------------------------------


def _failed(x: Context) -> None:
    ours = {name for unit in x.claims(c.Unit) for name in (unit.name,)}
    failed = [line.replace("●", " ").split()[0] for line in x.frame("failed").lines]
    others = [name for name in failed if name not in ours]
    if others:
        listed = ", ".join(others)
        raise Broken(
            tr(en="no other unit on the host has failed", fr="aucune autre unité de l'hôte n'a échoué"),
            Text(listed, listed),
            tr(en=f"Look at `systemctl status {others[0]}` on the host; `systemctl reset-failed` forgets it.",
               fr=f"Voyez `systemctl status {others[0]}` sur l'hôte ; `systemctl reset-failed` l'oublie."),
        )  # fmt: skip


def scan_skips(x: Context) -> list[int]:
    """Ports the scan leaves out, because they have a check of their own.

    The connect that finds a port open is one that ends before a word is said, and a service may hold that
    against us (sshd's PerSourcePenalties): each claimed port is tried once, by its own check.
    """
    return sorted(x.ports())


def _scan(x: Context, family: str) -> None:
    if x.quick:
        raise LeftOut(tr(en="left out by --quick", fr="laissé de côté par --quick"))
    target = x.vantage.target(family)
    found = x.vantage.scanned(family)
    total = found.probed + len(scan_skips(x))
    expected = tr(en=f"of 65,535 TCP ports only the claimed ones answer on {target.address}",
                  fr=f"des 65 535 ports TCP, seuls ceux annoncés répondent sur {target.address}")  # fmt: skip
    if found.open:
        known = {s.port: s.program for s in x.listeners if s.proto == "tcp" and s.program}
        listed = ", ".join(f"{port} ({known[port]})" if port in known else str(port) for port in found.open[:20])
        raise Broken(
            expected,
            tr(en=f"also open: {listed}", fr=f"aussi ouverts : {listed}"),
            tr(en="Run `houblon apply` to restore the firewall, or declare the port in site.yaml.",
               fr="Lancez `houblon apply` pour rétablir le pare-feu, ou déclarez le port dans site.yaml."),
        )  # fmt: skip
    if not found.whole or total != 65_535:
        names = ", ".join(sorted(set(found.unknown.values()))[:3])
        count = len(found.unknown)
        raise Broken(
            expected,
            tr(en=f"{count} ports could not be looked at ({names}); unknown is not closed",
               fr=f"{count} ports n'ont pu être observés ({names}) ; inconnu ne veut pas dire fermé"),
            tr(en="Check this machine's network and limits, and run it again.",
               fr="Vérifiez le réseau et les limites de cette machine, et recommencez."),
        )  # fmt: skip
    for number, claim in x.ports().items():
        if number != x.site.host.port and target.expects(claim):
            # Silence is only worth something while the host can be heard.
            if not x.vantage.tcp_open(number, family):
                raise Broken(
                    expected,
                    tr(en=f"port {number}, which must be open, is silent after the scan: it may have been cut off",
                       fr=f"le port {number}, qui doit être ouvert, se tait après le balayage : il a pu être coupé"),
                )  # fmt: skip
            break


def _listed(texts: list[Text], most: int = 8) -> Text:
    more = f" … +{len(texts) - most}" if len(texts) > most else ""
    return Text(", ".join(t.en for t in texts[:most]) + more, ", ".join(t.fr for t in texts[:most]) + more)
