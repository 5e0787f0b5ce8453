from pathlib import Path

from houblon.inventory import hosts_of

hosts = hosts_of(Path(__file__).parent)
