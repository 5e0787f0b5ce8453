"""PHP: one small FastCGI server for each `PhpPool`, as a user of its own, behind a socket that only nginx opens."""

from __future__ import annotations

from collections.abc import Iterator

from houblon.contract import (
    Artifact,
    Claim,
    Config,
    ConfigTest,
    Metadata,
    NoBackup,
    Outbound,
    Package,
    PhpPool,
    Resource,
    Role,
    Unit,
    tr,
)
from houblon.errors import BadInput
from houblon.kit import Kit
from houblon.roles.php import ini
from houblon.software import PHP

ETC = "/etc/houblon/php"
DATA = "/var/lib/php/houblon"
NGINX = "/etc/nginx/houblon/php.conf"
"""What nginx tells PHP about a request; roles include it beside ``fastcgi_pass unix:<PhpPool.socket>``."""
HOST_SCRIPT = "/usr/local/lib/houblon/php-host"
POOLS = f"{ETC}/pools"


class PhpConfig(Config):
    """Section `php:` of the site file; it has no options. Directives for one pool go into `overrides/php/`."""


class Php(Role[PhpConfig]):
    metadata = Metadata(
        title="PHP",
        summary=tr(
            en="Runs the PHP programs of services, each fenced off from the others.",
            fr="Exécute les programmes PHP des services, chacun isolé des autres.",
        ),
        category="system",
        licence="PHP-3.01",
        homepage="https://www.php.net",
        source="https://github.com/php/php-src",
    )
    consumes = (PhpPool,)

    @property
    def version(self) -> str:
        """As Debian names its packages, such as 8.4."""
        return PHP[self.site.host.debian]

    @property
    def pools(self) -> list[PhpPool]:
        """All pools of the host, by name."""
        return sorted(self.site.claims(PhpPool), key=lambda pool: pool.name)

    def claims(self) -> Iterator[Claim]:
        yield Package(f"php{self.version}-fpm", f"php{self.version}-opcache")
        yield NoBackup(
            tr(
                en="It keeps sessions and temporary files only.",
                fr="Il ne garde que des sessions et des fichiers temporaires.",
            )
        )

    def derive(self) -> Iterator[Claim]:
        names = [pool.name for pool in self.pools]
        for name in sorted({name for name in names if names.count(name) > 1}):
            roles = ", ".join(pool.role for pool in self.pools if pool.name == name)
            raise BadInput(
                f"two roles want a PHP pool `{name}`: {roles}", cure="Leave one of them out of the site file."
            )
        wanted = {one for pool in self.pools for one in pool.extensions}
        packages = sorted(f"php{self.version}-{one}" for one in wanted - ini.COMMON)
        if packages:
            yield Package(*packages)
        for pool in self.pools:
            yield Unit(f"{unit(pool)}.service", sandbox=2.0)
            yield Unit(f"{unit(pool)}.socket", sandbox=None)
            yield ConfigTest(self.test(pool))
            # The master, its share of compiled code, and a worker now and then.
            yield Resource(memory_mb=16 + pool.worker_mb, disk_mb=20)

    def install(self, kit: Kit) -> None:
        # Before any name is configured that includes it.
        kit.tree(NGINX)
        kit.tree(HOST_SCRIPT, mode=0o755)
        debian = f"/etc/php/{self.version}/fpm/pool.d"
        kit.absent(f"{debian}/www.conf", comes_with=f"php{self.version}-fpm")
        wanted = f"/etc/systemd/system/multi-user.target.wants/php{self.version}-fpm.service"
        pid = f"/run/php/php{self.version}-fpm.pid"
        kit.ensure(
            "Debian's own PHP server runs for foreign pools only",
            check=f"ls {debian}/*.conf >/dev/null 2>&1 || [ ! -L {wanted} -a ! -e {pid} ]",
            run=f"systemctl disable --now --quiet php{self.version}-fpm.service && rm -f {pid}",
            # The package comes with both.
            reads=(f"{debian}/www.conf",),
        )

    def configure(self, kit: Kit) -> None:
        self._overrides_are_used(kit)
        at_rest = sum(claim.memory_mb for claim in self.site.claims(Resource))
        lines = [f"{pool.name} {pool.worker_mb}" for pool in self.pools]
        kit.file(POOLS, "\n".join([f"at-rest {at_rest}", *lines, ""]))
        kit.ensure(
            "PHP takes as much of this host as there is",
            check=f"{HOST_SCRIPT} check {POOLS}",
            # No file of the model changes here, so nothing else would have the pools read it.
            run=f"{HOST_SCRIPT} write {POOLS}",
            reads=(POOLS,),
        )
        for pool in self.pools:
            kit.directory(data(pool), mode=0o750, group=pool.name)
            for name in ("tmp", "sessions"):
                kit.directory(f"{data(pool)}/{name}", mode=0o700, owner=pool.name, group=pool.name)
            override = kit.override(f"{pool.name}.conf")
            if override:
                kit.file(f"{ETC}/{pool.name}/override.conf", f"[{pool.name}]\n{override}")
            kit.template("etc/houblon/php/opcache-skip", to=f"{ETC}/{pool.name}/opcache-skip", pool=pool)
            kit.file(f"{ETC}/{pool.name}/php.ini", ini.text(pool, data(pool), f"{ETC}/{pool.name}/opcache-skip"))
            kit.template(
                "etc/houblon/php/fpm.conf",
                to=f"{ETC}/{pool.name}/fpm.conf",
                validate=self.test(pool),
                pool=pool,
                data=data(pool),
                enforced=ini.enforced(pool),
                quoted=ini.quoted,
                host=f"{ETC}/host/{pool.name}.conf",
                override=f"{ETC}/{pool.name}/override.conf" if override else "",
            )
        kit.tree("/etc/tmpfiles.d/houblon-php.conf", pools=self.pools, data=data, days=ini.session_days)

    def activate(self, kit: Kit) -> None:
        closed = ("/etc", "/opt", "/usr")
        outside = {claim.role for claim in self.site.claims(Outbound)}
        for pool in self.pools:
            for suffix in ("socket", "service"):
                kit.template(
                    f"etc/systemd/system/pool.{suffix}",
                    to=f"/etc/systemd/system/{unit(pool)}.{suffix}",
                    pool=pool,
                    version=self.version,
                    folder=f"{ETC}/{pool.name}",
                    write=[data(pool), *(f"-{path}" for path in pool.paths if not path.startswith(closed))],
                    outside=pool.role in outside,
                )
            kit.unit(f"{unit(pool)}.socket")
        for pool in self.pools:
            # A new release, or one that was put back: opcache would go on with what it compiled from the old files.
            code = [claim for claim in self.site.claims(Artifact) if claim.role == pool.role]
            kit.unit(f"{unit(pool)}.service", test=self.test(pool), releases=code)

    def remove(self, kit: Kit) -> None:
        kit.absent(f"{ETC}/host", DATA)

    def test(self, pool: PhpPool) -> str:
        """The server's own check of a pool's configuration."""
        folder = f"{ETC}/{pool.name}"
        return (
            f"setpriv --reuid={pool.name} --regid={pool.name} --clear-groups env PHP_INI_SCAN_DIR="
            f" /usr/sbin/php-fpm{self.version} --test -c {folder}/php.ini --fpm-config {folder}/fpm.conf"
        )

    def _overrides_are_used(self, kit: Kit) -> None:
        known = {f"{pool.name}.conf" for pool in self.pools}
        for path in sorted((self.site.folder / "overrides" / self.name).glob("*")):
            if path.name not in known and not path.name.startswith("."):
                raise BadInput(
                    "no PHP pool of this site uses this override",
                    cure=f"Name it after one of: {', '.join(sorted(known))}.",
                    file=path,
                )


def unit(pool: PhpPool) -> str:
    """Name of its systemd units, without suffix."""
    return f"houblon-php-{pool.name}"


def data(pool: PhpPool) -> str:
    """Where its temporary files and sessions are."""
    return f"{DATA}/{pool.name}"
