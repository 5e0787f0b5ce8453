"""The site file's JSON Schema (draft 2020-12), by which editors complete, explain and check it.

Generated from the same models that `houblon.site` judges with. It says less than they do: names, keys and what
two services may not share are only judged by `houblon check`.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from houblon.registry import AnyRole, Registry
from houblon.settings import FORMAT, Core

NAME = "site.schema.json"
HINT = f"# yaml-language-server: $schema={NAME}"
"""First line of a site file: editors with the YAML language server then find the schema beside it."""


def site_schema(registry: Registry) -> dict[str, Any]:
    """The schema of a site file in which these roles may be set."""
    roles = registry.roles
    models: dict[str, type[BaseModel]] = {name: role.config_type() for name, role in roles.items()}
    # Together, so that two roles' models of one name get definitions of their own.
    unique: list[type[BaseModel]] = list(dict.fromkeys([Core, *models.values()]))
    found, shared = models_json_schema([(model, "validation") for model in unique])
    definitions: dict[str, Any] = shared.get("$defs", {})
    core = _resolve(found[Core, "validation"], definitions)
    properties = dict(core["properties"])
    properties["version"] = {"const": FORMAT, "description": properties["version"]["description"]}
    properties["services"] = {
        "description": properties["services"]["description"],
        "anyOf": [
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    name: _section(roles[name], found[models[name], "validation"]) for name in registry.services
                },
            },
            {"type": "null"},
        ],
    }
    for name in registry.systems:
        properties[name] = _section(roles[name], found[models[name], "validation"])
    used = {key: value for key, value in definitions.items() if value is not core}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "houblon site file",
        "type": "object",
        "additionalProperties": False,
        "required": core["required"],
        "properties": properties,
        "$defs": used,
    }


def text(registry: Registry) -> str:
    """The schema as it is written beside a site file."""
    return json.dumps(site_schema(registry), indent=1, ensure_ascii=False) + "\n"


def _section(role: AnyRole, schema: dict[str, Any]) -> dict[str, Any]:
    """A role's options, or nothing at all: `portal:` alone takes the defaults."""
    about = role.metadata
    return {
        "title": about.title,
        "description": f"{about.summary.en} / {about.summary.fr}",
        "anyOf": [schema, {"type": "null"}],
    }


def _resolve(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    resolved: dict[str, Any] = definitions[reference.rpartition("/")[2]] if reference else schema
    return resolved
