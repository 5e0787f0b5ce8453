"""Redis: caches, locks and queues, one user for each `RedisUser` claim, who sees only keys of its own.

Reached by its socket alone, by members of the group ``redis`` who also know a password. What it holds survives an
orderly restart; nobody may keep in it what must not be lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from houblon.contract import (
    Alert,
    Claim,
    Config,
    Metadata,
    NoBackup,
    Package,
    RedisUser,
    Resource,
    Role,
    Secret,
    Unit,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.software import REDIS

UNIT = "redis-server.service"
FOLDER = "/etc/redis"
CONF = f"{FOLDER}/redis.conf"
USERS = f"{FOLDER}/users.acl"
PASSWORD = f"{FOLDER}/houblon.password"
SCRIPT = "/usr/local/lib/houblon/redis"
HOST_SCRIPT = "/usr/local/lib/houblon/redis-host"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
ADMIN = "houblon"
RESERVED = ("default", ADMIN)

FORBIDDEN = (
    # @dangerous holds @admin, but for what later versions add.
    "-@dangerous -@admin"
    # These three tell the names of everybody's keys; functions, scripts and channels are shared by all.
    " -scan -randomkey -dbsize -function -fcall -fcall_ro -script -pubsub -swapdb -select -move"
)
ALLOWED = "+script|exists +script|load"


class RedisConfig(Config):
    """Section `redis:` of the site file: nothing to choose. `overrides/redis/redis.conf` is read last."""


class Redis(Role[RedisConfig]):
    metadata = Metadata(
        title="Redis",
        summary=tr(
            en="Short-lived data of the services: caches and locks.",
            fr="Données éphémères des services : caches et verrous.",
        ),
        category="system",
        licence="AGPL-3.0-only",
        homepage="https://redis.io",
        source="https://github.com/redis/redis",
    )
    consumes = (RedisUser,)
    provides = ("redis",)

    def users(self) -> list[RedisUser]:
        """What roles claim, sorted by name."""
        return sorted(self.site.claims(RedisUser), key=lambda user: user.name)

    def claims(self) -> Iterator[Claim]:
        yield Package("redis-server", "redis-tools")
        yield Secret("admin", description="Password by which houblon looks after the users of Redis")
        yield Unit(UNIT, sandbox=2.0)
        yield Resource(memory_mb=40, disk_mb=100)
        yield NoBackup(
            tr(
                en="Caches and locks: services make them again.",
                fr="Caches et verrous : les services les refont.",
            )
        )
        yield Alert(
            "silent",
            tr(
                en="Redis does not answer: the services that need it do not work.",
                fr="Redis ne répond pas : les services qui en ont besoin ne marchent pas.",
            ),
            # Who looks at the host begins before the first apply has come to this role.
            command=f"[ ! -x {SCRIPT} ] || {SCRIPT} ping",
            after=2,
        )

    def derive(self) -> Iterator[Claim]:
        for user in self.users():
            if not NAME.fullmatch(user.name) or user.name in RESERVED:
                raise BadInput(
                    f"the role `{user.role}` wants a user `{user.name}` of Redis, a name that cannot be",
                    cure="Use a small letter, then small letters, digits, - and _, at most 31; not "
                    f"{' or '.join(RESERVED)}.", key=user.role,
                )  # fmt: skip
            twins = {other.role for other in self.users() if other.name == user.name}
            if len(twins) > 1:
                raise BadInput(
                    f"the roles {' and '.join(sorted(twins))} want the same user `{user.name}` of Redis",
                    cure="Give one of them another name.", key=user.role,
                )  # fmt: skip
        yield from ()

    def install(self, kit: Kit) -> None:
        kit.tree(HOST_SCRIPT, mode=0o755)
        kit.ensure(
            "Redis is sized for this host",
            check=f"{HOST_SCRIPT} check 2>/dev/null",
            # No file of the model changes here, so nothing else would restart it. Where other files keep it from
            # starting, it is started once they have been put right.
            run=f"{HOST_SCRIPT} write && {{ systemctl try-restart {UNIT} || :; }}",
        )

    def configure(self, kit: Kit) -> None:
        # The group `redis` is its clients: Debian lets it write here and read this.
        kit.ensure(
            "Redis's configuration is root's alone to write",
            check=f"[ \"$(dpkg-statoverride --list {FOLDER})\" = 'root root 755 {FOLDER}' ] && "
            f"[ \"$(stat -c '%U %G %a' {FOLDER})\" = 'root root 755' ]",
            run=f"dpkg-statoverride --force-statoverride-add --update --add root root 755 {FOLDER}; chmod g-s {FOLDER}",
        )
        kit.tree(CONF, socket=REDIS, users=USERS)
        kit.file(USERS, self._acl(kit), mode=0o400, owner="redis", secret=True)
        kit.file(PASSWORD, f"{kit.secret('admin').reveal()}\n", mode=0o600, secret=True)
        kit.tree(f"/etc/systemd/system/{UNIT}.d/houblon.conf")

    def activate(self, kit: Kit) -> None:
        # A restart for new users too: they come with a new service at most, and what Redis holds survives it.
        kit.unit(UNIT, ready=f"redis-cli -s {REDIS} PING | grep -q NOAUTH")
        kit.tree(SCRIPT, mode=0o755, socket=REDIS, users=USERS, password=PASSWORD, admin=ADMIN)
        kit.ensure(
            "the users of Redis are the wanted ones",
            check=f"{SCRIPT} settled", run=f"{SCRIPT} settle", reads=(USERS,),
        )  # fmt: skip

    def remove(self, kit: Kit) -> None:
        kit.absent(f"{FOLDER}/houblon-host.conf", f"{FOLDER}/houblon.seen")

    def purge(self, kit: Kit, claims: Iterable[Claim]) -> None:
        for claim in claims:
            if isinstance(claim, RedisUser) and NAME.fullmatch(claim.name):
                kit.ensure(
                    f"delete what {claim.name} has in Redis",
                    check=f"[ ! -x {SCRIPT} ] || {SCRIPT} gone {claim.name}", run=f"{SCRIPT} drop {claim.name}",
                )  # fmt: skip

    def _acl(self, kit: Kit) -> str:
        """The ACL file: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/."""
        admin = kit.secret("admin").reveal()
        lines = [
            "user default reset off",
            # Looks after users and purges; it reads no value.
            f"user {ADMIN} reset on #{_sha256(admin)} ~* -@all +acl|list +acl|load +ping +info +scan +unlink",
        ]
        for user in self.users():
            password = kit.secret_of(user.role, "redis").reveal()
            more = f"{ALLOWED} +keys" if user.lists_keys else ALLOWED
            lines.append(
                f"user {user.name} reset on #{_sha256(password)} ~{user.name}:* &{user.name}:* +@all {FORBIDDEN} {more}"
            )
        return "".join(f"{line}\n" for line in lines)


def _sha256(password: str) -> str:
    """As Redis stores it; fit for random passwords, which nobody finds by trying."""
    return hashlib.sha256(password.encode()).hexdigest()
