"""The tutorial on a cluster: Secrets, logins and manifests are made and checked as it says; nothing is applied."""

import os
from pathlib import Path

from tests.walk import checkout, walking

# What needs an engine for containers or a cluster.
NEEDS_A_CLUSTER = (
    "for service in router email sms push realtime carillon; do",
    "kubectl apply -f deploy/k8s/base/namespace.yaml",
    "kubectl apply -f shop.yaml",
    "carillon status",
)


def nothing(_folder: Path) -> None:
    """Do nothing."""


async def test_what_the_tutorial_makes_for_a_cluster_is_valid(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "checkout")
    scratch = tmp_path / "walk"
    scratch.mkdir()
    instead = dict.fromkeys(NEEDS_A_CLUSTER, nothing)
    async with walking("tutorials/operate.md", folder, scratch, environment=os.environ, instead=instead) as page:
        await page.rest()
    logins = {line.split()[0] for line in (folder / "broker.txt").read_text().splitlines()}
    assert all(f'"{login}"' in (folder / "dynamic-security.json").read_text() for login in logins)
    assert (folder / "broker.txt").stat().st_mode & 0o077 == 0
