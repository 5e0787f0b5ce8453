"""One account for everything: the whole way of a person, and everything put back after it was lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import saved
from tests.host.dav import Dav, Device
from tests.host.people import People
from tests.host.signin import SignIn, at_the_page, someone

pytestmark = pytest.mark.host

FIRST, SECOND = "une brouette pleine de houblon", "deux brouettes pleines d'orge"
NAMES = ("j.zoe", "j.max", "j.kim")


@pytest.fixture
def three(people: People, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Three people with their one-time links; Kim is no member of the group that has the calendar."""
    links = {}
    for name in NAMES:
        groups = () if name == "j.kim" else ("--group", "members")
        done = people.user("add", name, "--name", f"{name} O'Lune", "--recovery", f"{name}@elsewhere.test",
                           "--language", "fr", "--invite", "link", *groups)  # fmt: skip
        links[name] = re.findall(r"^https://\S+", done.stdout, re.M)[0]
    yield links
    for name in NAMES:
        people.user("remove", name, "--yes", "--to", str(tmp_path / f"{name}.tar.gz"))


def test_one_account_opens_everything_and_closes_everything(
    people: People, three: dict[str, str], tmp_path: Path
) -> None:
    signin = SignIn(people)
    people.lab.set_records([("auth", "A", people.host.address)])
    with at_the_page(signin), someone(signin) as zoe:
        zoe.choose(three["j.zoe"], FIRST)
        zoe.send("#houblon-in")
        zoe.sign_in("j.zoe", FIRST)
        assert zoe.inside()
        calendar = Device(tmp_path / "phone", Dav(people, "j.zoe", FIRST), "caldav", ["from a", "from b"])
        calendar.write("private", "e1", "Apéro")
        calendar.run("discover", answers="y\n" * 4)
        calendar.sync()
        assert people.sh("find /var/lib -path '*j.zoe*' -name 'e1.ics'").strip(), "the event is on the host"

        zoe.open()
        zoe.change(FIRST, SECOND)
        assert Dav(people, "j.zoe", FIRST).status() == 401
        assert Dav(people, "j.zoe", SECOND).status() == 207
        again = zoe.another()
        again.sign_in("j.zoe", FIRST)
        assert not again.inside()
        again.sign_in("j.zoe", SECOND)
        assert again.inside()

        people.user("disable", "j.zoe")
        assert Dav(people, "j.zoe", SECOND).status() == 401
        zoe.open()
        assert not zoe.inside(), "her session outlived her account"
        zoe.sign_in("j.zoe", SECOND)
        assert not zoe.inside()
        people.user("enable", "j.zoe")
        assert Dav(people, "j.zoe", SECOND).status() == 207

    with at_the_page(signin), someone(signin) as kim:
        kim.choose(three["j.kim"], FIRST)
        kim.send("#houblon-in")
        kim.sign_in("j.kim", FIRST)
        assert kim.inside()
        assert not any("//cal." in url for url in kim.links()), "she is shown what is closed to her"
    assert Dav(people, "j.kim", FIRST).status() == 401, "no member of the calendar's group"
    assert Dav(people, "nobody", FIRST).status() == 401


def test_what_was_lost_comes_back(people: People, three: dict[str, str], tmp_path: Path) -> None:
    signin = SignIn(people)
    people.lab.set_records([("auth", "A", people.host.address)])
    with at_the_page(signin), someone(signin) as max_:
        max_.choose(three["j.max"], FIRST)
        max_.send("#houblon-in")
        max_.sign_in("j.max", FIRST)
        max_.register_app()
    phone = Device(tmp_path / "phone", Dav(people, "j.max", FIRST), "caldav", ["from a", "from b"])
    for number in range(3):
        phone.write("private", f"e{number}", f"Rendez-vous {number}")
    phone.run("discover", answers="y\n" * 4)
    phone.sync()

    kept = saved.save(people)
    assert {"accounts", "sso", "calendar", "tls"} <= set(kept)
    saved.wipe(people, kept)
    people.cli("apply", "--yes")
    assert Dav(people, "j.max", FIRST).status() == 401, "nobody is known to the empty directory"
    saved.restore(people, kept)

    for role, one in kept.items():
        assert saved.compare(people, role, one.claim) == one.compare, f"{role} is not what it was"
    assert people.plan()["changes"] == []
    tablet = Device(tmp_path / "tablet", Dav(people, "j.max", FIRST), "caldav", ["from a", "from b"])
    tablet.run("discover", answers="y\n" * 4)
    tablet.sync()
    assert tablet.read("private") == {f"e{number}": f"Rendez-vous {number}" for number in range(3)}
    with at_the_page(signin), someone(signin) as max_:
        max_.sign_in("j.max", FIRST)
        assert not max_.inside() and max_.page.locator("#extcode").count(), "the second factor is asked for again"


def test_an_apply_never_touches_people(people: People, three: dict[str, str]) -> None:
    before = people.sh("/usr/local/lib/houblon/accounts compare")
    hashes = people.state()
    assert people.plan()["changes"] == []
    people.cli("apply", "--yes")
    assert people.sh("/usr/local/lib/houblon/accounts compare") == before
    assert people.state() == hashes
