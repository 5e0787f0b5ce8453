"""The directory on the host, through ldap-utils: LDIF and filters on standard input, LDIF back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from houblon import directory
from houblon.errors import CannotConnect, Exit, HoublonError, OperationFailed
from houblon.people import ldif, model
from houblon.people.ldif import Entry
from houblon.people.model import People

if TYPE_CHECKING:
    from houblon.connection import Connection, Result

EXISTS, NO_SUCH_ENTRY, NO_SUCH_VALUE, VALUE_EXISTS, CONSTRAINT = 68, 32, 16, 20, 19
"""Result codes (RFC 4511, appendix A)."""
CANNOT_CONTACT = 255

_PEOPLE = f"objectClass={directory.CLASS}"
_GROUPS = f"objectClass={directory.GROUP_CLASS}"
_TOOLS = "command -v ldapsearch >/dev/null || { echo 'there are no ldap-utils' >&2; exit 255; }"
_BIND = f"-Q -Y EXTERNAL -H {directory.LDAPI}"
# Each line of standard input is the inside of a filter; `%s` stands for it (ldapsearch(1), -f).
_SEARCH = f"""{_TOOLS}
exec ldapsearch {_BIND} -LLL -o ldif-wrap=no -b {directory.SUFFIX} -s sub -f - '(%s)' """
# The whole of it is read before the first change: half a record would be applied as if it were a shorter one. /run is
# in memory, so that no password touches the disk.
_MODIFY = f"""{_TOOLS}
umask 077; f=$(mktemp /run/houblon-people.XXXXXXXX) || exit 74
trap 'rm -f "$f"' EXIT; trap 'exit 65' HUP INT TERM
cat >"$f"
[ "$(wc -c <"$f")" -eq SIZE ] || {{ echo 'the line was cut' >&2; exit 65; }}
ldapmodify {_BIND} -f "$f"
"""
_SAID = re.compile(r'^(?:adding new|modifying|deleting) entry "(.*)"$', re.MULTILINE)


class Rejected(HoublonError):
    """The directory refused one record; those before it were applied, those after it were not.

    :param code: LDAP result code.
    :param dn: of the record.
    :param done: how many records were applied before.
    """

    exit_code = Exit.OPERATION_FAILED

    def __init__(self, code: int, dn: str, done: int, said: str) -> None:
        self.code, self.dn, self.done = code, dn, done
        what = f"the directory refuses the change of {dn}" if dn else "the directory refuses the change"
        super().__init__(f"{what}: {said or f'result {code}'}", cure="Nothing after it was changed.")


class Remote:
    """The directory of the host at the other end of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def search(self, filters: Iterable[str], attributes: Sequence[str]) -> list[Entry]:
        """Entries that match any of some filters, each written without its outer parentheses.

        :raises OperationFailed: when the directory does not answer.
        """
        lines = list(filters)
        if any("\n" in line for line in lines):
            raise ValueError("a filter is one line")
        stdin = "".join(f"{line}\n" for line in lines).encode()
        result = self.connection.run(_SEARCH + " ".join(attributes), stdin, timeout=120)
        if result.exit_status != 0:
            raise _silent(result)
        try:
            return list(ldif.parse(result.stdout))
        except ValueError as error:
            raise CannotConnect(f"the directory's answer could not be understood: {error}") from None

    def everything(self) -> People:
        """All people and all groups."""
        return self._people([_PEOPLE, _GROUPS])

    def of(self, name: str, groups: Iterable[str] = ()) -> People:
        """One person, if there is one of that name, and those of these groups that exist."""
        wanted = [f"&({_PEOPLE})(uid={directory.escape(name)})"]
        return self._people(wanted + [f"&({_GROUPS})(cn={directory.escape(group)})" for group in groups])

    def owners(self, addresses: Iterable[str]) -> Mapping[str, str]:
        """Whose these e-mail addresses are, those of nobody left out."""
        wanted = {address.casefold(): address for address in addresses}
        filters = [
            f"&(objectClass={directory.CLASS})(|({directory.MAIL}={value})({directory.ALIAS}={value}))"
            for value in map(directory.escape, wanted.values())
        ]
        found: dict[str, str] = {}
        for entry in self.search(filters, ("uid", directory.MAIL, directory.ALIAS)) if filters else ():
            for address in (*entry.get(directory.MAIL), *entry.get(directory.ALIAS)):
                if address.casefold() in wanted:
                    found[wanted[address.casefold()]] = entry.one("uid")
        return found

    def apply(self, records: str) -> None:
        """Apply records in their order, up to the first that is refused.

        :raises Rejected: by the directory.
        :raises CannotConnect: the line was lost; none, some or all was applied.
        """
        if not records:
            return
        data = records.encode()
        result = self.connection.run(_MODIFY.replace("SIZE", str(len(data))), data)
        if result.exit_status == 0:
            return
        if result.exit_status in (65, 74, CANNOT_CONTACT):
            raise _silent(result)
        begun = _SAID.findall(result.stdout)
        said = " ".join(result.stderr.split()).removeprefix("ldap_modify: ").removeprefix("ldap_add: ")
        raise Rejected(result.exit_status, begun[-1] if begun else "", max(len(begun) - 1, 0), said)

    def _people(self, filters: Iterable[str]) -> People:
        found = People()
        for entry in self.search(filters, (*model.READ, "member")):
            if name := model.group_in(entry.dn):
                found.groups[name] = frozenset(filter(None, map(model.person_in, entry.get("member"))))
            elif name := model.person_in(entry.dn):
                found.people[name] = model.person_from(entry)
        return found


def _silent(result: Result) -> OperationFailed:
    said = " ".join(result.stderr.split())
    return OperationFailed(
        f"the directory on the host does not answer: {said or f'status {result.exit_status}'}",
        cure="`houblon status` tells whether slapd runs; `houblon apply` sets it up.",
    )
