"""Mailer: a Postfix that hands all mail of the host to a relay account, keeps it while the relay is down, and
takes mail from this host only."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formataddr
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from houblon import settings
from houblon.contract import (
    Alert,
    Claim,
    Config,
    ConfigTest,
    Listen,
    Metadata,
    NoBackup,
    Outbound,
    Package,
    PersonalData,
    Resource,
    Role,
    Secret,
    Unit,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit

ETC = "/etc/postfix"
LIB = "/usr/local/lib/houblon"
CA_BUNDLE = "/etc/houblon/mail-ca.pem"
SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"
QUEUE_DAYS = 5
"""How long mail waits for a relay that is down: the week-end, and a bank holiday."""
# `postfix check` is quiet about a value that smtpd cannot work with: units that are active prove nothing.
BANNER = (
    "timeout 5 bash -c 'exec 3<>/dev/tcp/127.0.0.1/25; read -r line <&3; printf \"QUIT\\r\\n\" >&3;"
    " [[ $line == \"220 \"* ]]'"
)


def _user(text: str) -> str:
    if not text or ":" in text or any(not c.isprintable() or c.isspace() for c in text):
        raise ValueError("a user name of a mail relay has no spaces and no colon")
    return text


class MailerConfig(Config):
    """Section `mailer:` of the site file: the account by which the host sends mail.

    Its password is the secret mailer/relay: `houblon secret set mailer/relay` asks for it.
    """

    relay: Annotated[str, AfterValidator(settings.domain)] = Field(examples=["smtp.example.net"])
    """Name of the relay (SMTP submission server), as your mail provider gives it."""
    port: Literal[465, 587] = 587
    """587 begins in clear and goes on with TLS (STARTTLS), 465 is TLS from the start; both are verified."""
    user: Annotated[str, AfterValidator(_user)] = Field(examples=["houblon@example.net"])
    """User name of the account."""
    sender: Annotated[str, AfterValidator(settings.email)] = Field(examples=["houblon@example.net"])
    """Address that all mail comes from: relays refuse others. Names of senders and Reply-To stay as they are."""
    ca_bundle: str | None = None
    """PEM file in the site folder with the authorities to trust for the relay, when it is an internal one."""


class Mailer(Role[MailerConfig]):
    metadata = Metadata(
        title="Mailer",
        summary=tr(
            en="Sends the host's mail through a relay account.", fr="Envoie le courriel de l'hôte par un compte relais."
        ),
        category="system", licence="EPL-2.0 or IPL-1.0", homepage="https://www.postfix.org",
        source="https://github.com/vdukhovni/postfix",
    )  # fmt: skip
    debian = (13,)
    by_section = True
    provides = ("mailer",)

    @property
    def nexthop(self) -> str:
        """The relay as Postfix writes it: brackets mean that its own address counts, not its domain's MX."""
        return f"[{self.config.relay}]:{self.config.port}"

    @property
    def queue_days(self) -> int:
        return QUEUE_DAYS

    @property
    def admins(self) -> str:
        """Who gets the mail that the host writes to itself."""
        return ", ".join(admin.email for admin in self.site.admins)

    @property
    def ca_file(self) -> str:
        return CA_BUNDLE if self.config.ca_bundle else SYSTEM_CAS

    @property
    def named_sender(self) -> str:
        """The sender with the site's name, for mail that carries no name; as header checks write it."""
        return formataddr((self.site.name, self.config.sender)).replace("$", "$$")

    def claims(self) -> Iterator[Claim]:
        self._bundle()
        yield Package("postfix", "libsasl2-modules", "python3")
        yield Unit("postfix.service", sandbox=3.0)
        yield Listen(25)
        yield ConfigTest("postfix check")
        yield Secret("relay", kind="given", description=f"password of {self.config.user} at {self.config.relay}")
        yield Outbound(f"{self.config.relay}, port {self.config.port}, for mail")
        yield Resource(memory_mb=15, disk_mb=30)
        yield Alert(
            "queue",
            tr(en="mail does not leave the host", fr="le courriel ne quitte plus l'hôte"),
            command=f"{LIB}/mail-queue 3600",
        )
        yield Alert(
            "bounced",
            tr(en="the relay refuses mail", fr="le relais refuse du courriel"),
            command=f"{LIB}/mail-bounces",
        )
        yield NoBackup(
            tr(
                en="Mail that waits is sent within minutes, and the settings are made from the site file.",
                fr="Le courriel en attente part en quelques minutes, et les réglages viennent du fichier du site.",
            )
        )
        yield PersonalData(
            tr(en="Mail that waits for the relay", fr="Courriels qui attendent le relais"),
            where="/var/spool/postfix",
            retention_days=QUEUE_DAYS,
        )

    def install(self, kit: Kit) -> None:
        kit.tree(f"{LIB}/mail-queue", f"{LIB}/mail-bounces", f"{LIB}/mail-trace", mode=0o755)

    def configure(self, kit: Kit) -> None:
        kit.tree("/etc/systemd/system/postfix.service.d/houblon.conf")
        if bundle := self._bundle():
            kit.file(CA_BUNDLE, bundle)
        kit.tree(f"{ETC}/relay", mode=0o600)
        kit.tree(f"{ETC}/headers", f"{ETC}/sender", f"{ETC}/local")
        kit.tree(f"{ETC}/main.cf", f"{ETC}/master.cf", validate="postfix check")

    def activate(self, kit: Kit) -> None:
        kit.unit("postfix.service", reload=True, test="postfix check", ready=BANNER)

    def remove(self, kit: Kit) -> None:
        # The queue stays: it may hold mail.
        kit.unit("postfix.service", state="stopped")

    def _bundle(self) -> bytes:
        path = self.config.ca_bundle
        if not path:
            return b""
        file = self.site.folder / PurePosixPath(path)
        if not file.is_file():
            raise BadInput(
                f"there is no file {path} in the site folder", cure="Put the PEM file there, or take the line out.",
                key="mailer.ca_bundle",
            )  # fmt: skip
        return file.read_bytes()
