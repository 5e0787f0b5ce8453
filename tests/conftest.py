"""Lab hosts shared by the host tests: one boot and one first converge for all tests of a process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from houblon.errors import HoublonError
from houblon.lab import Lab
from tests.host.cached import need
from tests.host.cloud import Cloud, make_cloud
from tests.host.people import People, make_people
from tests.host.sites import Applied, make_site
from tests.host.web import make_web_site

# No deadline: a stopwatch judges the machine. Fewer examples than the default, as each run draws new ones.
hypothesis.settings.register_profile("houblon", deadline=None, max_examples=25)
hypothesis.settings.load_profile("houblon")


@pytest.fixture(scope="session")
def fresh_lab() -> Iterator[Callable[..., Lab]]:
    """Make labs that nobody shares; taken down at the end, or when this process dies."""
    labs: list[Lab] = []

    def make(hosts: int = 1, release: str = "trixie") -> Lab:
        try:
            lab = Lab.up(f"t{os.getpid()}x{len(labs)}", hosts=hosts, release=release, owner_pid=os.getpid())
        except HoublonError as error:
            if os.environ.get("HOUBLON_REQUIRE_HOST"):
                raise
            pytest.skip(f"no lab host can be had here: {error}")
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        lab.down()


@pytest.fixture(scope="session")
def applied(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """A host converged once from scratch; hosts[1] of its lab is a bare neighbour to look from."""
    lab = fresh_lab(hosts=2)
    site = make_site(lab, tmp_path_factory.mktemp("sites") / "shared")
    started = time.monotonic()
    site.cli("apply", "--yes", "--accept-new", timeout=900)
    site.first_seconds = time.monotonic() - started
    return site


@pytest.fixture
def bare(fresh_lab: Callable[..., Lab], tmp_path: Path) -> Applied:
    """A site for a host that nothing was ever applied to, in a lab of its own."""
    return make_site(fresh_lab(), tmp_path / "site")


@pytest.fixture(scope="session")
def web(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """A host with several names and an application, for the tests of nginx and tls."""
    return make_web_site(fresh_lab(), tmp_path_factory.mktemp("sites") / "web")


@pytest.fixture(scope="session")
def people(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """A host with accounts, sign-in, calendars and alarms; hosts[1] of its lab is a bare neighbour."""
    made = make_people(fresh_lab(hosts=2), tmp_path_factory.mktemp("sites") / "people")
    yield made
    for sink in (made.relay, made.hooks):
        if sink is not None:
            sink.stop()


@pytest.fixture(scope="session")
def cloud(fresh_lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A host with Nextcloud, from a release in the cache; hosts[1] of its lab is a bare neighbour."""
    need("nextcloud")
    made = make_cloud(fresh_lab(hosts=2), tmp_path_factory.mktemp("sites") / "cloud")
    yield made
    if made.relay is not None:
        made.relay.stop()
