"""What must not be on a host before our firewall is: another firewall, a VPN whose port nobody declared."""

from __future__ import annotations

from collections.abc import Iterable


def script(udp_ports: Iterable[int]) -> str:
    """Read-only POSIX shell, run as root; each line it prints is a refusal. Needs nothing installed.

    :param udp_ports: declared ports, among which a WireGuard server's must be.
    """
    return _SCRIPT.replace("@UDP@", " ".join(str(port) for port in sorted(udp_ports)))


_SCRIPT = r"""
if grep -qsix 'ENABLED=yes' /etc/ufw/ufw.conf; then
    echo "ufw is active, and two firewalls contradict each other: declare the ports it opens" \
        "under firewall.open in the site file, then run: ufw disable"
fi
if systemctl is-active --quiet firewalld.service 2>/dev/null; then
    echo "firewalld is active, and two firewalls contradict each other: declare the ports it opens" \
        "under firewall.open in the site file, then run: systemctl disable --now firewalld"
fi
if command -v nft >/dev/null; then
    nft list chains 2>/dev/null | awk '
        $1 == "table" { table = $2 " " $3 }
        $1 == "chain" { chain = $2 }
        /hook input/ && /policy drop/ && table != "inet houblon" {
            print "the nftables chain " table " " chain " drops what it does not know, our ports included:" \
                " declare its ports under firewall.open in the site file, then remove that chain" \
                " (iptables tables are shown this way too)"
        }'
elif command -v iptables >/dev/null && iptables -S INPUT 2>/dev/null | grep -q '^-P INPUT DROP'; then
    echo "iptables drops what it does not know, our ports included: declare its ports under firewall.open" \
        "in the site file, then run: iptables -P INPUT ACCEPT"
fi
declared=" @UDP@ "
for path in /sys/class/net/*; do
    grep -qs '^DEVTYPE=wireguard$' "$path/uevent" || continue
    name="${path##*/}"
    conf="/etc/wireguard/$name.conf"
    port=
    if [ -r "$conf" ]; then
        # Without ListenPort it is a client, whose answers pass anyway.
        port="$(sed -n 's/^[[:space:]]*ListenPort[[:space:]]*=[[:space:]]*//Ip' "$conf" | head -n 1)"
        port="${port%%[!0-9]*}"
    elif command -v wg >/dev/null; then
        port="$(wg show "$name" listen-port 2>/dev/null)"
    else
        echo "the WireGuard interface $name listens on a port nobody here can tell:" \
            "install wireguard-tools, or remove the interface"
    fi
    case "$port" in ''|0) continue;; esac
    case "$declared" in
        *" $port "*) ;;
        *) echo "WireGuard's $name listens on UDP port $port, which our firewall would close: declare it in" \
            "the site file, as firewall: {open: [{port: $port, proto: udp, why: WireGuard}]}";;
    esac
done
true
"""
