"""Writes docs/reference from the code: ``python -m houblon.docsgen docs/reference``.

What a page says is taken from where it is decided (settings, claims, exit codes, commands, roles), so that no
page has to be remembered when that changes; a test compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import houblon
from houblon import claims
from houblon.claims import Claim
from houblon.cli.app import app
from houblon.errors import Exit, HoublonError
from houblon.registry import AnyRole, Registry, discover
from houblon.schema import site_schema
from houblon.settings import FORMAT
from houblon.site import load

EXAMPLES = Path(houblon.__file__).parent.parent / "inventories"
NOTICE = "<!-- Written by `make docs` from the code. Change the code instead. -->\n\n"
WHEN = {
    Exit.OK: "Done; for `plan`: there is nothing to do.",
    Exit.BUG: "A mistake in houblon itself. Please report it.",
    Exit.CHANGES_PENDING: "`plan` only: there are changes to apply. No error.",
}


def pages() -> dict[str, str]:
    """Every generated page, by its path below docs/reference."""
    registry = discover()
    schema = site_schema(registry)
    written = {
        "site-file.md": _site_file(registry, schema),
        "commands.md": _commands(),
        "claims.md": _claims(registry),
        "exit-codes.md": _exit_codes(),
        "roles/index.md": _role_index(registry),
    }
    made = _claims_made(registry)
    for name, role in registry.roles.items():
        written[f"roles/{name}.md"] = _role(name, role, schema, registry, made.get(name, []))
    return {path: NOTICE + text.strip() + "\n" for path, text in written.items()}


# --- the site file ---------------------------------------------------------------------------------------


def _site_file(registry: Registry, schema: dict[str, Any]) -> str:
    own = {key: value for key, value in schema["properties"].items() if key not in registry.systems}
    own.pop("services")
    core = {**schema, "properties": own}
    lines = [
        "# The site file",
        "",
        f"`site.yaml`, format version {FORMAT}: YAML 1.2, UTF-8. An unknown key, a duplicate key or a wrong value is "
        "an error that names file, line, key and cure (`houblon check`). `houblon init` writes a JSON Schema beside "
        "it, `site.schema.json`, by which editors complete and check.",
        "",
        *_keys(core, schema),
        "",
        "## `services`",
        "",
        "What people use. Each key is a service, its value the options of that service, or nothing.",
        "",
        *(f"- [`{name}`](roles/{name}.md): {registry.roles[name].metadata.summary.en}" for name in registry.services),
        "",
        "## System sections",
        "",
        "These roles come with every host, or when something needs them. A section is only needed to change an option.",
        "",
    ]
    for name in registry.systems:
        lines += [f"### `{name}`", "", registry.roles[name].metadata.summary.en, ""]
        lines += [*_options(schema["properties"][name], schema, f"{name}."), ""]
    return "\n".join(lines)


def _options(section: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> list[str]:
    words = " or ".join(f"`{word}`" for word in _words(section, schema))
    return ([f"Either {words} alone, or:", ""] if words else []) + _keys(_model(section, schema), schema, prefix)


def _keys(model: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> list[str]:
    """A table of a model's keys; those of models inside it follow, with dotted names."""
    rows = list(_rows(model, schema, prefix))
    if not rows:
        return ["There is nothing to set."]
    return ["| Key | Value | Default | Meaning |", "|---|---|---|---|", *rows]


def _rows(model: dict[str, Any], schema: dict[str, Any], prefix: str) -> Iterator[str]:
    required = model.get("required", ())
    for key, value in model.get("properties", {}).items():
        inner = _inner(value, schema)
        default = "required" if key in required else _default(value.get("default"))
        about = _cell(value.get("description", ""))
        yield f"| `{prefix}{key}` | {_cell(_type(value, schema))} | {default} | {about} |"
        if inner:
            dots = "[]." if _resolved(value, schema).get("type") == "array" else "."
            yield from _rows(inner, schema, f"{prefix}{key}{dots}")


def _inner(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The model that a key holds, alone or in a list."""
    value = _resolved(value, schema)
    if value.get("type") == "array":
        value = _resolved(value.get("items", {}), schema)
    return value if "properties" in value else None


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Without references and without "or nothing"."""
    if "$ref" in value:
        found: dict[str, Any] = schema["$defs"][value["$ref"].rpartition("/")[2]]
        return _resolved(found, schema)
    arms = [arm for arm in value.get("anyOf", ()) if arm.get("type") != "null"]
    return _resolved(arms[0], schema) if len(arms) == 1 else value


def _model(section: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The options in a section that may also be left empty, or be one word."""
    section = _resolved(section, schema)
    if "properties" in section:
        return section
    return next((found for arm in section.get("anyOf", ()) if (found := _model(arm, schema))), {})


def _words(section: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Words that may stand in place of a section's options."""
    section = _resolved(section, schema)
    return [str(w) for w in (section.get("const"), *section.get("enum", ())) if w is not None] + [
        word for arm in section.get("anyOf", ()) for word in _words(arm, schema)
    ]


def _type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    value = _resolved(value, schema)
    if "anyOf" in value:
        return " or ".join(_type(arm, schema) for arm in value["anyOf"] if arm.get("type") != "null")
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    kind = value.get("type", "")
    if kind == "array":
        return f"list of {_type(value.get('items', {}), schema)}"
    if kind == "object":
        return "mapping"
    if kind == "boolean":
        return "`true` or `false`"
    low, high = value.get("minimum"), value.get("maximum")
    if low is not None and high is not None:
        return f"{kind}, {low} to {high}"
    return "text" if kind == "string" else kind


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in (None, "", [], {}):
        return "none"
    return f"`{', '.join(value) if isinstance(value, list) else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- commands --------------------------------------------------------------------------------------------


def _commands() -> str:
    root: Any = typer.main.get_command(app)
    lines = ["# Commands", "", root.help, "", "Every command has `--help`. [Exit codes](exit-codes.md).", ""]
    lines += ["## houblon", "", "Options that stand before the command's name:", "", *_parameters(root), ""]
    for path, command in _walk(root, "houblon"):
        lines += [f"## {path}", "", _help(command.help or ""), ""]
        usage = " ".join([path, *(_usage(p) for p in command.params if p.param_type_name == "argument")])
        lines += [f"    {usage} [options]" if any(_is_option(p) for p in command.params) else f"    {usage}", ""]
        lines += [*_parameters(command), ""]
    return "\n".join(lines)


def _walk(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option" and parameter.name != "help" and not parameter.hidden)


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper().strip("_")
    dots = "..." if argument.nargs == -1 else ""
    return f"{name}{dots}" if argument.required else f"[{name}{dots}]"


def _parameters(command: Any) -> list[str]:
    lines = []
    for parameter in command.params:
        about = _help(getattr(parameter, "help", "") or "")
        if parameter.param_type_name == "argument":
            lines.append(f"- `{_usage(parameter)}`: {about}".removesuffix(": "))
        elif _is_option(parameter):
            names = ", ".join(f"`{name}`" for name in sorted(parameter.opts, key=len, reverse=True))
            takes = "" if parameter.is_flag or parameter.count else f" {parameter.metavar or parameter.name.upper()}"
            lines.append(f"- {names}{takes}: {about}".removesuffix(": "))
    return lines


def _help(text: str) -> str:
    # A form feed ends what --help shows; the rest of the docstring is for readers of the code.
    shown = inspect.cleandoc(text).partition("\f")[0]
    return re.sub(r"(?m)^\s*:(param|raises|return).*(\n(?!\n).*)*", "", shown).strip()


# --- claims and exit codes -------------------------------------------------------------------------------


def _claims(registry: Registry) -> str:
    lines = [
        "# Claims",
        "",
        "A role says what it needs and promises by yielding claims; who provides for a kind never names a service. "
        "All of them live in `houblon/claims.py`.",
        "",
    ]
    for kind in sorted((k for k in claims.ALL if k is not Claim), key=lambda k: k.__name__):
        lines += [f"## {kind.__name__}", "", *_docstring(kind), ""]
        takers = ", ".join(f"[{name}](roles/{name}.md)" for name in registry.consumers(kind))
        if takers:
            lines += [f"Provided for by: {takers}", ""]
    return "\n".join(lines)


def _docstring(kind: type[Claim]) -> list[str]:
    text, _, parameters = inspect.cleandoc(kind.__doc__ or "").partition("\n:param ")
    about = {}
    for chunk in parameters.split("\n:param ") if parameters else ():
        name, _, words = chunk.partition(":")
        about[name.strip()] = " ".join(words.split())
    lines = [" ".join(re.sub(r"``", "`", text).split()), ""]
    for field in dataclasses.fields(kind):
        if field.name in ("role", "host"):
            continue
        kind_text = re.sub(r"Literal\[(.*?)\]", r"\1", str(field.type)).replace("|", "or").replace("', '", "' or '")
        given = "" if field.default is dataclasses.MISSING else f", default `{field.default!r}`"
        words = re.sub(r"``", "`", about.get(field.name, ""))
        lines.append(f"- `{field.name}` ({kind_text}{given})" + (f": {words}" if words else ""))
    return lines


def _exit_codes() -> str:
    lines = [
        "# Exit codes",
        "",
        "Scripts may rely on these; they are also what `houblon.errors.Exit` says.",
        "",
        "| Code | Name | When |",
        "|---|---|---|",
    ]
    # Those of other modules are cases of these, and here only when something has imported them.
    kinds = [kind for kind in HoublonError.__subclasses__() if kind.__module__ == HoublonError.__module__]
    errors = {kind.exit_code: kind for kind in kinds}
    for code in Exit:
        when = WHEN.get(code) or inspect.cleandoc(errors[code].__doc__ or "")
        lines.append(f"| {int(code)} | {code.name} | {_cell(when)} |")
    return "\n".join([*lines, "| 130 | | Interrupted with Ctrl-C; the next run heals what was left half done. |"])


# --- roles -----------------------------------------------------------------------------------------------


def _role_index(registry: Registry) -> str:
    lines = ["# Roles", "", "## Services", ""]
    lines += [_role_line(name, registry) for name in registry.services]
    lines += ["", "## System roles", "", "They come by themselves, when something needs them.", ""]
    lines += [_role_line(name, registry) for name in registry.systems]
    return "\n".join(lines)


def _role_line(name: str, registry: Registry) -> str:
    about = registry.roles[name].metadata
    return f"- [{about.title}]({name}.md) (`{name}`): {about.summary.en}"


def _role(name: str, role: AnyRole, schema: dict[str, Any], registry: Registry, made: list[str]) -> str:
    about = role.metadata
    service = name in registry.services
    place = f"services: {name}" if service else name
    properties = schema["properties"]
    section = properties["services"]["anyOf"][0]["properties"][name] if service else properties[name]
    lines = [f"# {about.title}", "", about.summary.en, "", f"*{about.summary.fr}*", "", "| | |", "|---|---|"]
    rows = {
        "Name": f"`{name}`",
        "Stands in the site file under": f"`{place}`",
        "Placed": _placed(role, service),
        "Provides for": ", ".join(f"[{k.__name__}](../claims.md#{k.__name__.lower()})" for k in role.consumes),
        "Capabilities": ", ".join(f"`{capability}`" for capability in role.provides),
        "Licence": about.licence,
        "Homepage": about.homepage and f"<{about.homepage}>",
        "Source": about.source and f"<{about.source}>",
        "Upstream": about.upstream,
    }
    lines += [f"| {key} | {value} |" for key, value in rows.items() if value]
    lines += ["", "## Options", "", *_options(section, schema)]
    lines += ["", "## Claims", ""]
    links = ", ".join(f"[{kind}](../claims.md#{kind.lower()})" for kind in made)
    lines += [f"In the example `inventories/association` it makes: {links}." if made else "It makes none."]
    if (role.folder / "README.md").exists():
        lines += ["", f"More: [roles/{name}/README.md](../../../roles/{name}/README.md)."]
    return "\n".join(lines)


def _placed(role: AnyRole, service: bool) -> str:
    if service:
        return "when the site file names it"
    return "on every host" + (", before all others" if role.first else "") if role.always else "when something needs it"


def _claims_made(registry: Registry) -> dict[str, list[str]]:
    site = load(EXAMPLES / "association")
    found: dict[str, set[str]] = {}
    for claim in site.claims(Claim):
        found.setdefault(claim.role, set()).add(type(claim).__name__)
    return {name: sorted(kinds) for name, kinds in found.items()}


def main(target: Path) -> None:
    """Write all pages, and remove role pages of roles that are gone."""
    written = pages()
    for path, text in written.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text, encoding="utf-8")
    for old in (target / "roles").glob("*.md"):
        if f"roles/{old.name}" not in written:
            old.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit("usage: python -m houblon.docsgen FOLDER")
    main(Path(sys.argv[1]))
