"""What the roles on the host know of one person: shown, exported, deleted, shut out through their `Person` claims.

The claims are those that the host recorded at the last apply, not those of the site file: a service that left the
file and was not removed yet still holds data, and one that was never applied holds none.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from houblon.claimjson import claim_from_json
from houblon.claims import Claim, Invites, Person
from houblon.errors import CannotConnect, OperationFailed, Refused
from houblon.facts.snapshot import RECORD
from houblon.record import Record

if TYPE_CHECKING:
    from houblon.connection import Connection
    from houblon.site import Site

_NAMED = "IFS= read -r HOUBLON_PERSON; export HOUBLON_PERSON\n"
"""The name arrives on standard input, not in the script."""


class Services:
    """The roles on a host that keep data of people, in the order in which they are taken away from it.

    Users of the directory come before the directory, so that whoever was cut off can still be found in it.

    :raises Refused: the host was never applied to, or a newer houblon wrote what this one cannot read.
    """

    def __init__(self, site: Site, connection: Connection) -> None:
        self.connection = connection
        record = _record(connection)
        last = [role.name for role in reversed(site.roles)]
        self._placed = frozenset(last)
        directory = {role.name for role in site.roles if "accounts" in role.provides}

        def rank(role: str) -> tuple[bool, int]:
            return role in directory, last.index(role) if role in last else -1

        self._claims = sorted(_claims(record), key=lambda claim: rank(claim.role))

    @property
    def persons(self) -> tuple[Person, ...]:
        """In the order of deletion."""
        return tuple(claim for claim in self._claims if isinstance(claim, Person))

    @property
    def invites(self) -> Invites | None:
        """Who makes links, if anybody does; rather a role of the site than one that left it."""
        makers = [claim for claim in self._claims if isinstance(claim, Invites)]
        return next((claim for claim in makers if claim.role in self._placed), makers[0] if makers else None)

    def show(self, name: str) -> list[tuple[Person, list[str]]]:
        """By service, a line for each thing that deleting would delete.

        :raises OperationFailed: one of them cannot tell.
        """
        return [(claim, self._run(claim, claim.show, name, "cannot tell what it has of")) for claim in self.persons]

    def shut_out(self, name: str) -> list[str]:
        """End the person's sessions and tokens everywhere; every service is tried.

        :return: what failed, a sentence for each service; empty when all went well.
        """
        return self._each([(claim, claim.shut_out) for claim in self.persons], name, "cannot end the sessions of")

    def forget_factor(self, name: str) -> list[str]:
        """Remove the person's second factor everywhere; every service is tried.

        :return: what failed, a sentence for each service; empty when all went well.
        :raises Refused: no service on the host has second factors.
        """
        those = [(claim, claim.forget_factor) for claim in self.persons if claim.forget_factor]
        if not those:
            raise Refused("no service on this host has second factors", cure="The sign-in page (`sso`) brings them.")
        return self._each(those, name, "cannot remove the second factor of")

    def delete(self, claim: Person, name: str) -> None:
        """Delete what one service has.

        :raises OperationFailed: it did not.
        """
        self._run(claim, claim.delete, name, "cannot delete what it has of")

    def export_script(self) -> str:
        """A script that writes a tar of all that the services have of the person named on its standard input.

        Its last member lists the SHA-256 of every file, so that half an archive is known for one.
        """
        steps = "\n".join(
            f"part {shlex.quote(claim.role)} {shlex.quote(claim.export)}" for claim in self.persons if claim.export
        )
        return f"""set -eu
umask 077
{_NAMED}find /var/tmp -maxdepth 1 -name 'houblon-export.*' -mmin +1440 -exec rm -rf {{}} +
d=$(mktemp -d /var/tmp/houblon-export.XXXXXXXX)
trap 'rm -rf "$d"' EXIT; trap 'exit 65' HUP INT TERM PIPE
exec 3>&1 1>&2
part() {{
  HOUBLON_EXPORT="$d/data/$1"
  export HOUBLON_EXPORT
  mkdir -p "$HOUBLON_EXPORT"
  ( cd "$HOUBLON_EXPORT" && unset d && eval "$2" ) </dev/null 3>&- ||
    {{ echo "$1 cannot export: status $?" >&2; exit 70; }}
}}
mkdir "$d/data"
{steps}
cd "$d/data"
find . -type f -print0 | sort -z | xargs -0r sha256sum -z >"$d/SHA256SUMS"
tar --create --file=- --owner=0 --group=0 . --directory="$d" SHA256SUMS >&3
"""

    def _each(self, commands: Iterable[tuple[Person, str]], name: str, fails: str) -> list[str]:
        failed = []
        for claim, command in commands:
            try:
                self._run(claim, command, name, fails)
            except OperationFailed as error:
                failed.append(error.what)
        return failed

    def _run(self, claim: Person, command: str, name: str, fails: str) -> list[str]:
        if not command:
            return []
        result = self.connection.run(f"{_NAMED}( eval {shlex.quote(command)} ) </dev/null", f"{name}\n".encode())
        if result.exit_status != 0:
            said = " ".join(result.stderr.split())[-300:]
            raise OperationFailed(
                f"{claim.role} {fails} {name}: {said or f'status {result.exit_status}'}",
                cure=f"`houblon verify --only {claim.role}` tells more. Run the command again when it is mended.",
            )
        return [line for line in result.lines() if line.strip()]


def _record(connection: Connection) -> Record:
    result = connection.run(f"[ ! -e {RECORD} ] || cat {RECORD}")
    try:
        if result.exit_status != 0:
            raise ValueError
        record = Record.read(json.loads(result.stdout) if result.stdout else None)
    except (ValueError, KeyError, TypeError):
        raise CannotConnect(f"the host's record {RECORD} cannot be read", cure="Run `houblon apply`.") from None
    if record is None:
        raise Refused("nothing was ever applied to this host", cure="Run `houblon apply` first.")
    return record


def _claims(record: Record) -> Iterator[Claim]:
    kinds = {kind.__name__ for kind in (Person, Invites)}
    for role in record.roles.values():
        for data in role.claims:
            if data.get("claim") not in kinds:
                continue
            claim, warning = claim_from_json(data)
            if claim is None:
                raise Refused(f"{warning}; data of people could be overlooked", cure="Update houblon on this machine.")
            yield claim

