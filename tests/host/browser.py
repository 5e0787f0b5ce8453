"""Debian's Chromium, as a visitor in the lab's own network."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.host.sites import Applied

CHROMIUM = "/usr/bin/chromium"


@contextmanager
def chromium(site: Applied) -> Iterator[Browser]:
    """A browser next to the site's host, for which every name leads there.

    It runs in the network of the lab's last host: in this machine's own, every lab that comes or goes makes it break
    off what it loads (ERR_NETWORK_CHANGED).
    """
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        launcher = Path(folder) / "chromium"
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join(site.lab.hosts[-1].beside([CHROMIUM]))} "$@"\n')
        launcher.chmod(0o755)
        rules = f"--host-resolver-rules=MAP * {site.host.address}"
        browser = playwright.chromium.launch(executable_path=launcher, args=["--no-sandbox", rules])
        yield browser
        browser.close()
