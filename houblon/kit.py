"""What a role's stages use to say what should be on the host.

The kit only records. It renders templates, reads secrets from the vault and collects `houblon.resources`
items; nothing is sent anywhere. The engine turns the record into pyinfra operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jinja2

from houblon.claims import Artifact
from houblon.errors import BadInput
from houblon.resources import (
    Absent,
    Batch,
    Directory,
    Door,
    Ensure,
    File,
    Item,
    Link,
    Release,
    UnitState,
    User,
    digest,
)

if TYPE_CHECKING:
    from houblon.contract import Config, Role
    from houblon.site import Site
    from houblon.vault import Secret, Vault

SHARED_TEMPLATES = Path(__file__).parent / "templates"


class Kit:
    """The tools of one role during one run; its methods are called inside the role's stages.

    :raises BadInput: from any method, when the site's own files (overrides) make a template fail.
    """

    def __init__(self, site: Site, role: Role[Any], vault: Vault) -> None:
        self.site = site
        self.role = role
        self.config: Config = role.config
        self.batches: list[Batch] = []
        self.stage = "install"
        self._vault = vault
        self._revealed = False
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader([role.folder / "templates", SHARED_TEMPLATES]),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # noqa: S701 - configuration files; the portal's HTML templates escape with |e
            finalize=self._finalize,
        )

    # --- files -------------------------------------------------------------------------------------------

    def tree(
        self,
        *paths: str,
        mode: int = 0o644,
        owner: str = "root",
        group: str = "root",
        system: bool = False,
        validate: str = "",
        **values: Any,
    ) -> None:
        """Render ``templates/<path>.j2`` (or copy ``templates/<path>``) to each path on the host.

        :param validate: command run once the files are in place; when it fails they are put back as they
            were and the run stops.
        :param values: for the templates, which also see ``site``, ``config``, ``role`` and ``secret()``.
        """
        self._add(
            [self._render(p, p.lstrip("/"), mode, owner, group, system, values) for p in paths], validate
        )

    def template(
        self,
        name: str,
        to: str,
        *,
        mode: int = 0o644,
        owner: str = "root",
        group: str = "root",
        system: bool = False,
        validate: str = "",
        **values: Any,
    ) -> None:
        """Render a template of another name than its path, such as one for each vhost."""
        self._add([self._render(to, name.removesuffix(".j2"), mode, owner, group, system, values)], validate)

    def file(
        self,
        path: str,
        content: str | bytes,
        *,
        mode: int = 0o644,
        owner: str = "root",
        group: str = "root",
        secret: bool = False,
        system: bool = False,
        validate: str = "",
    ) -> None:
        """Put exactly this content at a path."""
        data = content.encode() if isinstance(content, str) else content
        self._add([File(path, data, mode, owner, group, secret, system)], validate)

    def render(self, name: str, **values: Any) -> str:
        """Render a template to text, for a `Door` or a `file`. Must not contain secrets."""
        item = self._render("/", name.removesuffix(".j2"), 0o644, "root", "root", False, values)
        if item.secret:
            raise ValueError(f"{self.role.name}: {name} reveals a secret; use tree() or template()")
        return item.content.decode()

    def directory(self, *paths: str, mode: int = 0o755, owner: str = "root", group: str = "root") -> None:
        """Directories; parents that are missing are made 0755 root:root."""
        self._add([Directory(p, mode, owner, group) for p in paths])

    def link(self, path: str, to: str) -> None:
        """A symbolic link at ``path`` that points to ``to``."""
        self._add([Link(path, to)])

    def absent(self, *paths: str, comes_with: str = "") -> None:
        """Paths (whole directories too) that must not exist; ``comes_with`` names the package that brings them."""
        self._add([Absent(p, comes_with, tree=True) for p in paths])

    def release(self, name: str) -> str:
        """One of the role's own pinned releases, unpacked read-only in ``/opt/<name>/<version>``.

        :return: ``/opt/<name>/current``, a link to it.
        """
        found = {artifact.name: artifact for artifact in self.role.artifacts()}
        release = Release(found[name])
        # Whoever may write there chooses the code that runs.
        self.directory(release.home)
        self._add([release])
        self._add([Link(release.link, release.version)])
        return release.link

    # --- accounts ----------------------------------------------------------------------------------------

    def system_user(self, name: str, *, home: str, groups: Iterable[str] = ()) -> None:
        """A system account (with its group) that nobody logs in to."""
        self._add([User(name, home, groups=tuple(groups))])

    def user(
        self, name: str, *, home: str, shell: str, groups: Iterable[str], password_hash: str, comment: str = ""
    ) -> None:
        """An account for a person (an admin of the host)."""
        self._add([User(name, home, shell, False, tuple(groups), password_hash, comment)])

    # --- running things ----------------------------------------------------------------------------------

    def unit(
        self,
        name: str,
        *,
        state: Literal["running", "stopped", "masked"] = "running",
        reload: bool = False,
        test: str = "",
        ready: str = "",
        ready_seconds: int = 60,
        inputs: Iterable[str] = (),
        releases: Iterable[Artifact] = (),
    ) -> None:
        """A systemd unit, restarted (or reloaded) when what it reads has changed.

        Its inputs are all files and releases this role has asked for so far (its own unit files only, for a timer or
        anything else that is no service), and ``inputs`` (any further text that stands for what it depends
        on).

        :param releases: releases of other roles that it runs code from, as a PHP pool does.
        :param reload: a change outside /etc/systemd needs a reload only.
        :param ready: shell command that succeeds once the service really serves.
        """
        files = [f for b in self.batches for f in b.items if isinstance(f, File | Release)]
        if not name.endswith(".service"):
            files = [f for f in files if f.path.startswith(f"/etc/systemd/system/{name}")]
        files += [Release(artifact) for artifact in releases]
        units = [f for f in files if f.path.startswith("/etc/systemd/")]
        others = [f for f in files if f not in units]
        restart, soft = (units, others) if reload else (files, [])
        extra = list(inputs)
        self._add([
            UnitState(
                name,
                state,
                restart_on=digest(*_marks(restart), *([] if reload else extra)),
                reload_on=digest(*_marks(soft), *(extra if reload else [])),
                restart_files=_paths(restart),
                reload_files=_paths(soft),
                test=test,
                ready=ready,
                ready_seconds=ready_seconds,
            )
        ])

    def ensure(
        self, name: str, *, check: str, run: str, stdin: str | bytes | Secret = b"", soft: bool = False,
        timeout_seconds: int = 300, reads: Iterable[str] = (),
    ) -> None:
        """Run a command when its read-only check fails. ``name`` is what the plan shows.

        :param reads: files of this role that the check looks at without naming them.
        """
        data = stdin if isinstance(stdin, bytes) else (
            stdin.encode() if isinstance(stdin, str) else stdin.reveal_bytes()
        )
        self._add([Ensure(name, check, run, data, soft, timeout_seconds, tuple(reads))])

    def door(
        self, name: str, files: dict[str, str], *, mode: int = 0o644, activate: str, validate: str = "",
        live: str = "", undo_extra: str = "", undo_seconds: int = 60,
    ) -> None:
        """Switch files that could lock the operator out; see `houblon.resources.Door`."""
        items = tuple(File(path, text.encode(), mode, system=True) for path, text in files.items())
        self._add([Door(name, items, activate, validate, live, undo_extra, undo_seconds)])

    # --- what templates and stages may ask ---------------------------------------------------------------

    def secret(self, name: str) -> Secret:
        """A secret this role claims. Printing it shows dots; ``reveal()`` gives the value."""
        return self._vault.get(self.role.name, name)

    def secret_of(self, role: str, name: str) -> Secret:
        """A secret that another role claims, for the provider that applies it (the password of a bind)."""
        return self._vault.get(role, name)

    def public(self, name: str) -> str:
        """The public half of a key this role claims."""
        return self._vault.public(self.role.name, name)

    def override(self, path: str) -> str:
        """The site's own snippet ``overrides/<role>/<path>``, or an empty string."""
        return self.site.override(self.role.name, path)

    # --- inside ------------------------------------------------------------------------------------------

    def _add(self, items: Iterable[Item], validate: str = "") -> None:
        new = tuple(items)
        if not new:
            return
        last = self.batches[-1] if self.batches else None
        if (
            last
            and last.stage == self.stage
            and validate == last.validate
            and last.kind == type(new[0]).__name__
            and not isinstance(new[0], Door)
        ):
            self.batches[-1] = Batch(self.role.name, self.stage, last.items + new, validate)
        else:
            self.batches.append(Batch(self.role.name, self.stage, new, validate))

    def _finalize(self, value: Any) -> Any:
        reveal = getattr(value, "reveal", None)
        if reveal is None:
            return value
        self._revealed = True
        return reveal()

    def _render(
        self, path: str, name: str, mode: int, owner: str, group: str, system: bool, values: dict[str, Any]
    ) -> File:
        self._revealed = False
        try:
            template = self._jinja.get_template(f"{name}.j2")
        except jinja2.TemplateNotFound:
            source = self.role.folder / "templates" / name
            return File(path, source.read_bytes(), mode, owner, group, False, system)
        try:
            text = template.render(
                site=self.site, config=self.config, role=self.role, kit=self, secret=self.secret, **values
            )
        except jinja2.UndefinedError as error:
            raise BadInput(
                f"template {name} of role {self.role.name} needs a value it was not given: {error.message}",
                cure="This is a mistake in the role, not in your site file; please report it.",
            ) from None
        if self._revealed and mode & 0o007:
            raise ValueError(f"{self.role.name}: {path} holds a secret and would be readable by everyone")
        return File(path, text.encode(), mode, owner, group, self._revealed, system)


def _paths(files: Iterable[File | Release]) -> tuple[str, ...]:
    """What is written when these change; a release is changed by its link alone, too."""
    return tuple(path for f in files for path in ((f.path, f.link) if isinstance(f, Release) else (f.path,)))


def _marks(files: Iterable[File | Release]) -> list[str]:
    return [
        f"{f.path} {f.mode:o} {f.owner} {f.group} {f.sha256}" if isinstance(f, File) else f"{f.path} {f.sha256}"
        for f in files
    ]
