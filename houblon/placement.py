"""Decides which roles a site's host gets, in which order, and collects their claims. All offline."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from houblon.claims import Claim, Needs, Provides
from houblon.contract import Role
from houblon.errors import BadInput, HoublonError
from houblon.registry import Registry, where

ROUNDS = 20
"""Derived claims may lead to further ones; more rounds than this means that two roles keep answering
each other."""


@dataclass
class Placement:
    """The outcome: roles in order, all claims, and for each role the chosen service that brought it."""

    roles: dict[str, Role[Any]] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    origins: dict[str, str] = field(default_factory=dict)


def place(
    registry: Registry,
    chosen: Iterable[str],
    make: Callable[[str], Role[Any]],
    publish: Callable[[tuple[Claim, ...]], None],
    extra: Sequence[Claim],
    result: Placement,
) -> None:
    """Place the chosen services, what is always there, and whatever these need.

    :param make: gives a role with its settings.
    :param publish: told all claims so far before roles are asked to derive from them.
    :param extra: claims of roles that the host still has, though the site no longer places them; their
        providers are placed for them.
    :param result: filled in step by step, so that it tells where an error comes from.
    :raises BadInput: when a need has no provider, or needs go round in a circle.
    """
    own: dict[str, tuple[Claim, ...]] = {}
    derived: dict[str, tuple[Claim, ...]] = {}

    def add(name: str, because: str) -> None:
        if name in result.roles:
            return
        role = result.roles[name] = make(name)
        result.origins[name] = result.origins.get(because, because)
        own[name] = _collect(role, role.claims)

    for name in chosen:
        add(name, name)
    for name, kind in sorted(registry.roles.items()):
        if kind.always:
            add(name, name)

    for _ in range(ROUNDS):
        recorded = tuple(claim for claim in extra if claim.role not in result.roles)
        while True:
            everything = recorded + _flat(own) + _flat(derived)
            before = len(result.roles)
            given = _capabilities(result.roles, everything)
            for claim in everything:
                for name in _wanted(registry, claim, given, known=claim.role in result.roles):
                    add(name, claim.role)
            if len(result.roles) == before:
                break
            recorded = tuple(claim for claim in recorded if claim.role not in result.roles)
        publish(everything)
        new = {name: _collect(role, role.derive) for name, role in sorted(result.roles.items())}
        if new == derived:
            break
        derived = new
    else:
        raise BadInput(
            "the claims of these roles never settle: " + ", ".join(sorted(n for n in new if new[n])),
            cure="This is a mistake in a role, not in your site file: its derive() must give the same answer "
            "when nothing else has changed.",
        )
    _refuse_unmet(_flat(own) + _flat(derived), _capabilities(result.roles, everything))
    result.roles = {name: result.roles[name] for name in order(result.roles, everything)}
    rank = {name: index for index, name in enumerate(result.roles)}
    result.claims = tuple(sorted(everything, key=lambda claim: rank.get(claim.role, len(rank))))
    publish(result.claims)


def _flat(claims: Mapping[str, tuple[Claim, ...]]) -> tuple[Claim, ...]:
    return tuple(claim for name in sorted(claims) for claim in claims[name])


def _collect(role: Role[Any], ask: Callable[[], Iterator[Claim]]) -> tuple[Claim, ...]:
    """A role's claims, signed with its name, each once."""
    signed: dict[Claim, None] = {}
    try:
        for claim in ask():
            mine = copy.copy(claim)  # not dataclasses.replace: a claim may have an __init__ of its own
            object.__setattr__(mine, "role", role.name)
            signed[mine] = None
    except HoublonError:
        raise
    except Exception as error:
        if type(role).__module__.startswith("houblon.roles."):
            raise
        file, line = where(error, role.folder)
        raise BadInput(
            f"the role `{role.name}` fails while it declares its claims: {type(error).__name__}: {error}",
            cure="Mend the role, or take it out of the site file.", file=file, line=line,
        ) from error  # fmt: skip
    return tuple(signed)


def _capabilities(roles: Mapping[str, Role[Any]], claims: Iterable[Claim]) -> Mapping[str, set[str]]:
    """Who provides each capability: always (`Role.provides`), or with these settings (`Provides`)."""
    given: dict[str, set[str]] = defaultdict(set)
    for name, role in roles.items():
        for capability in role.provides:
            given[capability].add(name)
    for claim in claims:
        if isinstance(claim, Provides):
            given[claim.capability].add(claim.role)
    return given


def _refuse_unmet(claims: Iterable[Claim], given: Mapping[str, set[str]]) -> None:
    for claim in claims:
        if isinstance(claim, Needs) and not given.get(claim.capability):
            raise BadInput(
                f"the role `{claim.role}` needs `{claim.capability}`, which nothing here provides",
                cure=f"Change the settings so that a role provides it, or remove `{claim.role}`.",
                key=claim.role,
            )


def _wanted(
    registry: Registry, claim: Claim, given: Mapping[str, set[str]], *, known: bool
) -> Iterator[str]:
    """Roles that a claim calls for.

    :param known: the claim is of a placed role; what only the host remembers is never a mistake.
    """
    for name in registry.consumers(type(claim)):
        # A service may look at claims (the portal lists vhosts), but only its owner's choice places it.
        if registry.roles[name].metadata.category == "system":
            yield name
    if isinstance(claim, Needs):
        providers = registry.providers(claim.capability)
        if given.get(claim.capability) or not providers:
            return
        if len(providers) > 1 and not known:
            return
        if len(providers) > 1:
            raise BadInput(
                f"the role `{claim.role}` needs `{claim.capability}`, which several roles provide: "
                + ", ".join(providers),
                cure="Choose one of them under services:.", key=claim.role,
            )  # fmt: skip
        yield providers[0]


def order(roles: Mapping[str, Role[Any]], claims: Iterable[Claim]) -> list[str]:
    """Providers before those they provide for, `first` roles before all others, else by name.

    What a role `Needs` is a rule. That the consumer of a kind of claims goes before who makes them is only a
    wish, dropped where it would make a circle: nginx claims certificates from tls, which needs nginx to get
    them.

    :raises BadInput: naming the roles, when needs go round in a circle.
    """
    claims = [claim for claim in claims if claim.role in roles]
    before: dict[str, set[str]] = {name: set() for name in roles}

    def same_phase(one: str, other: str) -> bool:
        return one != other and roles[one].first == roles[other].first

    def leads(start: str, goal: str) -> bool:
        seen, queue = set(), [start]
        while queue:
            name = queue.pop()
            if name == goal:
                return True
            if name not in seen:
                seen.add(name)
                queue.extend(before[name])
        return False

    given = _capabilities(roles, claims)
    for claim in claims:
        if isinstance(claim, Needs):
            before[claim.role] |= {n for n in given.get(claim.capability, ()) if same_phase(n, claim.role)}
    _refuse_circles(before)
    wishes = {
        (claim.role, name)
        for claim in claims
        for name, role in roles.items()
        if type(claim) in role.consumes and same_phase(name, claim.role)
    }
    for who, provider in sorted(wishes):
        if not leads(provider, who):
            before[who].add(provider)

    done: list[str] = []
    for phase in (True, False):
        waiting = sorted(name for name, role in roles.items() if role.first is phase)
        while waiting:
            ready = next(name for name in waiting if not (before[name] - set(done)))
            done.append(ready)
            waiting.remove(ready)
    return done


def _refuse_circles(before: Mapping[str, set[str]]) -> None:
    state: dict[str, int] = {}

    def visit(name: str, path: list[str]) -> None:
        if state.get(name) == 2:
            return
        if state.get(name) == 1:
            circle = [*path[path.index(name) :], name]
            raise BadInput(
                "these roles need each other in a circle: " + " -> ".join(circle),
                cure="This is a mistake in the roles; one of them must not need the other.",
            )
        state[name] = 1
        for other in sorted(before[name]):
            visit(other, [*path, name])
        state[name] = 2

    for name in sorted(before):
        visit(name, [])
