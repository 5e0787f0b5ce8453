"""What runs in the kernel is what the file says, and it would be so again after a reboot."""

from __future__ import annotations

from typing import Any

import pytest

from houblon.claims import tr
from houblon.verify import Broken

LIST = "nft -s list table inet houblon"


@pytest.mark.root
def test_live_rules_are_those_of_the_file(host: Any) -> None:
    """The kernel's table is exactly what the file makes (loaded beside it, in a network of its own)."""
    live = host.check_output(LIST)
    fresh = host.check_output(f"unshare --net sh -c 'nft -f /etc/houblon/firewall.nft && {LIST}'")
    if live != fresh:
        extra = sorted(set(live.splitlines()) - set(fresh.splitlines()))
        lost = sorted(set(fresh.splitlines()) - set(live.splitlines()))
        raise Broken(
            tr(en="the kernel runs the rules of /etc/houblon/firewall.nft",
               fr="le noyau suit les règles de /etc/houblon/firewall.nft"),
            tr(en=f"{len(extra)} lines too many, {len(lost)} missing: {' / '.join([*extra, *lost])[:200].strip()}",
               fr=f"{len(extra)} lignes de trop, {len(lost)} manquantes : "
                  f"{' / '.join([*extra, *lost])[:200].strip()}"),
            tr(en="Run `houblon apply`.", fr="Lancez `houblon apply`."),
        )  # fmt: skip


def test_what_nobody_asked_for_is_dropped(host: Any) -> None:
    """Incoming packets are dropped unless a rule accepts them."""
    chain = host.check_output("nft list chain inet houblon input")
    assert "policy drop;" in chain


def test_other_tables_do_not_shut_our_ports(host: Any) -> None:
    """No other firewall on the host drops what ours lets in."""
    others = host.check_output(
        "nft list chains | awk '$1 == \"table\" { t = $2 \" \" $3 } /hook input/ && /policy drop/ { print t }'"
    )
    assert set(others.splitlines()) == {"inet houblon"}, others.replace("\n", ", ")


def test_rules_come_back_after_a_reboot(host: Any) -> None:
    """The unit that loads the rules starts before the network does."""
    before = host.check_output("systemctl show -p Before --value houblon-firewall.service")
    assert "network-pre.target" in before.split()
    assert host.check_output("systemctl is-enabled houblon-firewall.service") == "enabled"
