"""Kernel settings of every host: those of ANSSI-BP-028 and CIS that break nothing houblon may meet.

Left out on purpose: IP forwarding (Docker, Incus and WireGuard own it), `accept_ra` (hosts that get their
IPv6 route from router advertisements would lose it), user namespaces (systemd's sandboxes use them),
`kernel.modules_disabled` and `kexec_load_disabled` (firewall and backup tools load modules late; kdump).
"""

from __future__ import annotations

SYSCTL: dict[str, int] = {
    "dev.tty.ldisc_autoload": 0,
    "fs.protected_fifos": 2,
    "fs.protected_hardlinks": 1,
    "fs.protected_regular": 2,
    "fs.protected_symlinks": 1,
    "fs.suid_dumpable": 0,
    "kernel.core_uses_pid": 1,
    "kernel.dmesg_restrict": 1,
    "kernel.kptr_restrict": 2,
    "kernel.perf_event_paranoid": 3,
    "kernel.randomize_va_space": 2,
    "kernel.sysrq": 0,
    "kernel.unprivileged_bpf_disabled": 1,
    "kernel.yama.ptrace_scope": 1,
    "net.core.bpf_jit_harden": 2,
    "net.ipv4.conf.all.accept_redirects": 0,
    "net.ipv4.conf.all.accept_source_route": 0,
    "net.ipv4.conf.all.log_martians": 1,
    "net.ipv4.conf.all.rp_filter": 1,
    "net.ipv4.conf.all.secure_redirects": 0,
    "net.ipv4.conf.all.send_redirects": 0,
    "net.ipv4.conf.default.accept_redirects": 0,
    "net.ipv4.conf.default.accept_source_route": 0,
    "net.ipv4.conf.default.log_martians": 1,
    "net.ipv4.conf.default.rp_filter": 1,
    "net.ipv4.conf.default.secure_redirects": 0,
    "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv4.icmp_echo_ignore_broadcasts": 1,
    "net.ipv4.icmp_ignore_bogus_error_responses": 1,
    "net.ipv4.tcp_rfc1337": 1,
    "net.ipv4.tcp_syncookies": 1,
    "net.ipv6.conf.all.accept_redirects": 0,
    "net.ipv6.conf.all.accept_source_route": 0,
    "net.ipv6.conf.default.accept_redirects": 0,
    "net.ipv6.conf.default.accept_source_route": 0,
    "vm.mmap_min_addr": 65536,
    "vm.swappiness": 10,
}
