"""The model of a site as an Ansible playbook that manages the same resources with Ansible's own modules.

One task for each resource, as people write them. Contents are rendered already (`copy`, not `template`), of guarded
steps only the check is there, as one `shell` task, and houblon's stamps, proofs and record have no counterpart: where
the two differ, Ansible does less. For a host that houblon has converged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from houblon.model import Model
from houblon.resources import Absent, Directory, Door, Ensure, File, Item, Link, Packages, UnitState, User, key

CONFIG = """[defaults]
host_key_checking = True
interpreter_python = /usr/bin/python3
gathering = explicit
display_skipped_hosts = False
retry_files_enabled = False
{mitogen}
[ssh_connection]
pipelining = True
control_path_dir = {folder}/cp
ssh_args = -o ControlMaster=auto -o ControlPersist=60s \
 -o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes
"""


def export(model: Model, folder: Path, *, user: str, identity: Path, password: str) -> int:
    """Write playbook and inventory; returns the number of tasks.

    :param password: for sudo; stands in the inventory, which only its owner may read.
    """
    folder.mkdir(mode=0o700, parents=True)
    contents = folder / "files"
    contents.mkdir()
    tasks = [
        {"name": f"{role}: {next(iter(task))} {key(item)}", **task}
        for role, item in model.items() for task in _tasks(item, contents)
    ]
    play = [{"hosts": "all", "gather_facts": False, "become": True, "tasks": tasks}]
    # JSON is YAML.
    (folder / "playbook.yml").write_text(json.dumps(play, indent=1))
    host = {
        "ansible_user": user, "ansible_ssh_private_key_file": str(identity), "ansible_become_password": password,
    }  # fmt: skip
    inventory = folder / "inventory.json"
    inventory.touch(mode=0o600)
    inventory.write_text(json.dumps({"all": {"hosts": {"target": host}}}))
    return len(tasks)


def _tasks(item: Item, contents: Path) -> Iterator[dict[str, Any]]:
    match item:
        case Packages():
            yield {"apt": {"name": list(item.names), "install_recommends": False}}
        case File():
            source = contents / str(len(list(contents.iterdir())))
            source.write_bytes(item.content)
            yield {"copy": {"src": str(source), "dest": item.path, **_rights(item)}}
        case Directory():
            yield {"file": {"path": item.path, "state": "directory", **_rights(item)}}
        case Link():
            yield {"file": {"path": item.path, "src": item.target, "state": "link", "force": True, "follow": False}}
        case Absent():
            yield {"file": {"path": item.path, "state": "absent"}}
        case User():
            yield {"user": {
                "name": item.name, "home": item.home, "shell": item.shell, "system": item.system,
                "groups": list(item.groups), "append": True, "comment": item.comment,
                **({"password": item.password_hash} if item.password_hash else {}),
            }}  # fmt: skip
        case UnitState():
            wanted = {
                "running": {"state": "started", "enabled": True}, "stopped": {"state": "stopped", "enabled": False},
                "masked": {"masked": True},
            }  # fmt: skip
            yield {"systemd_service": {"name": item.name, **wanted[item.state]}}
        case Ensure():
            script = f"if (\n{item.check}\n) </dev/null >/dev/null 2>&1; then :; else echo CHANGED; fi"
            # Shell may hold what Jinja takes for its own, such as ${#x}.
            yield {
                "shell": {"cmd": "{% raw %}" + script + "{% endraw %}"}, "register": "step",
                "changed_when": "'CHANGED' in step.stdout",
            }  # fmt: skip
        case Door():
            for file in item.files:
                yield from _tasks(file, contents)
        case _:
            return


def _rights(item: File | Directory) -> dict[str, str]:
    return {"mode": f"{item.mode:04o}", "owner": item.owner, "group": item.group}
