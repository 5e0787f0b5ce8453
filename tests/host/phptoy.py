"""A role with two small PHP programs of its own, for the tests of PHP pools."""

from __future__ import annotations

from pathlib import Path

ROLE = '''\
"""Two programs that do as they are told, each in a pool of its own, for tests."""

from houblon.contract import Config, Metadata, NoBackup, PhpPool, RateLimit, Role, Vhost, tr


class Toy(Role[Config]):
    metadata = Metadata(title="Toy", summary=tr(en="Toy.", fr="Jouet."), category="test", licence="CC0-1.0",
                        homepage="https://toy.test")

    def claims(self):
        for name in ("toya", "toyb"):
            pool = PhpPool(name, extensions=("apcu", "mbstring") if name == "toya" else ("apcu",),
                           paths=(f"/srv/{name}",), settings=(("upload_max_filesize", "3M"), ("post_max_size", "4M")),
                           environment=(("TOY", f"it is {name}"),), worker_mb=32)
            yield pool
            yield Vhost(f"{name}.{self.site.domain}", csp=None, max_body_mb=4, snippet=f"""
root /srv/{name};
location / {{
    try_files $uri =404;
    include /etc/nginx/houblon/php.conf;
    fastcgi_pass unix:{pool.socket};
}}""")
        yield NoBackup(tr(en="Nothing is kept.", fr="Rien n'est gardé."))

    def install(self, kit):
        for name in ("toya", "toyb"):
            kit.system_user(name, home="/nonexistent")

    def configure(self, kit):
        for name in ("toya", "toyb"):
            kit.directory(f"/srv/{name}", mode=0o750, owner=name, group="www-data")
            kit.directory(f"/srv/{name}/own", mode=0o700, owner=name, group=name)
            kit.file(f"/srv/{name}/do.php", PROGRAM)
            kit.file(f"/srv/{name}/config.php", "<?php return 1;")


PROGRAM = """<?php
header('Content-Type: application/json');
try {
    $answer = (function () { return eval($_POST['code']); })();
} catch (Throwable $error) {
    $answer = get_class($error) . ': ' . $error->getMessage();
}
echo json_encode(['answer' => $answer, 'error' => error_get_last()['message'] ?? '']);
"""
'''


def add_toy(folder: Path) -> None:
    """Put the role into a site's own roles."""
    (folder / "roles" / "toy").mkdir(parents=True)
    (folder / "roles" / "toy" / "__init__.py").write_text(ROLE)
