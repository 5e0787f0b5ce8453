"""The one directory of accounts: OpenLDAP, for the host alone, each reader seeing what it claimed.

People and groups are written by `houblon user` and never by an apply. What an apply owns in the directory is its
frame: the branches, the password policies and the binds of roles, compared with `FRAME` and `BINDS` on each plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from houblon import directory
from houblon.contract import (
    Accounts,
    Alert,
    BackupSet,
    Claim,
    Config,
    ConfigTest,
    DataPath,
    Listen,
    Metadata,
    Package,
    Person,
    PersonalData,
    Resource,
    Role,
    Unit,
    tr,
)
from houblon.kit import Kit
from houblon.roles.accounts import frame
from houblon.roles.accounts.access import Rule, rules

DATA = "/var/lib/houblon-directory"
CONF = "/etc/ldap/slapd.conf"
SCHEMA = "/etc/ldap/schema/houblon.schema"
FRAME = "/etc/houblon/directory.frame"
BINDS = "/etc/houblon/directory.binds"
SCRIPT = "/usr/local/lib/houblon/accounts"
READY = f"timeout 10 ldapsearch -LLL -Q -Y EXTERNAL -H {directory.LDAPI} -s base -b '' 1.1"


class AccountsConfig(Config):
    """Section `accounts:` of the site file."""

    password_length: Annotated[int, Field(ge=8, le=64)] = 12
    """Characters a password needs at least. Passwords chosen earlier stay valid."""


class AccountsRole(Role[AccountsConfig]):
    metadata = Metadata(
        title="Accounts",
        summary=tr(
            en="One account and one password for each person, in every service.",
            fr="Un compte et un mot de passe par personne, dans tous les services.",
        ),
        category="system",
        licence="OLDAP-2.8",
        homepage="https://www.openldap.org",
        source="https://git.openldap.org/openldap/openldap",
    )
    by_section = True
    consumes = (Accounts,)
    provides = ("accounts",)

    def claims(self) -> Iterator[Claim]:
        yield Package("slapd", "ldap-utils")
        yield Unit("slapd.service", sandbox=2.0)
        yield Listen(directory.PORT, address=directory.HOST)
        yield ConfigTest(f"slaptest -u -f {CONF}")
        yield Resource(memory_mb=40, disk_mb=100)
        yield DataPath(DATA)
        yield BackupSet(
            paths=(DATA,), exclude=("*.mdb",),
            dump=f"{SCRIPT} dump", restore=f"{SCRIPT} restore", compare=f"{SCRIPT} compare",
        )  # fmt: skip
        yield PersonalData(
            tr(
                en="Name, addresses, groups, quotas, password (as a hash), day of the last login",
                fr="Nom, adresses, groupes, quotas, mot de passe (haché), jour de la dernière connexion",
            ),
            where=DATA,
            retention_days=None,
        )
        yield Person(
            tr(en="The account itself", fr="Le compte lui-même"),
            show=f"{SCRIPT} person-show", export=f"{SCRIPT} person-export", delete=f"{SCRIPT} person-delete",
        )  # fmt: skip
        yield Alert(
            "silent",
            tr(
                en="The directory of accounts does not answer: nobody can log in.",
                fr="L'annuaire des comptes ne répond pas : personne ne peut se connecter.",
            ),
            command=f"{READY} >/dev/null",
            after=2,
        )

    def install(self, kit: Kit) -> None:
        # What Debian's package makes for a directory of its own stays: nobody reads it, and it may be somebody's.
        kit.directory(DATA, mode=0o700, owner="openldap", group="openldap")

    def configure(self, kit: Kit) -> None:
        kit.tree(
            SCHEMA,
            CONF,
            "/etc/default/slapd",
            "/etc/systemd/system/slapd.service.d/houblon.conf",
            directory=directory,
            conf=CONF,
            data=DATA,
            schema=SCHEMA,
            rules=self.rules(),
        )

    def activate(self, kit: Kit) -> None:
        kit.unit("slapd.service", test=f"slaptest -u -f {CONF}", ready=READY)
        self._settle(kit)

    def rules(self) -> tuple[Rule, ...]:
        """Who may see and write what, one rule for each `Accounts` claim."""
        return rules(self.site.claims(Accounts))

    def _settle(self, kit: Kit) -> None:
        roles = sorted({claim.role for claim in self.site.claims(Accounts)})
        kit.tree(SCRIPT, mode=0o755, frame=FRAME, binds=BINDS, conf=CONF, data=DATA, directory=directory)
        kit.file(FRAME, frame.frame(self.config.password_length))
        secrets = {role: kit.secret_of(role, "directory") for role in roles}
        kit.file(BINDS, frame.binds({role: s.reveal() for role, s in secrets.items()}), mode=0o600, secret=True)
        kit.ensure(
            "the directory's branches, policies and binds are the wanted ones",
            check=f"{SCRIPT} settled", run=f"{SCRIPT} settle", reads=(FRAME, BINDS),
        )  # fmt: skip
