"""Every placeholder of the example overlay is named, and nothing passes while one is left."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.placeholders.__main__ import PATTERNS, placeholders
from tests.manifests import K8S, ROOT, Manifest, rendered

# What an operator writes in the place of each.
OWN = {
    "notifications.shop.example.com": "notifications.shop.test",
    "registry.shop.example.com": "registry.shop.test",
    "registry.example.com": "registry.shop.test",
    "console.shop.example.com": "console.shop.test",
    "shop@example.com": "hello@shop.test",
    "login.example.com": "login.shop.test",
    "app.example.com": "app.shop.test",
    "notifications@example.com": "hello@shop.test",
    "com.example.app": "test.shop.app",
    "ABC123DEFG": "K123456789",
    "DEF123GHIJ": "T123456789",
    "MG" + "0" * 32: "MG" + "1" * 32,
}


def filled(text: str) -> str:
    for placeholder, own in OWN.items():
        text = text.replace(placeholder, own)
    return text


def check(text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.placeholders", "-"]
    return subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)  # noqa: S603


def test_each_placeholder_that_stands_in_the_example_is_named() -> None:
    named = {each.value for each in placeholders([*rendered("example")])}
    settings = [
        line.partition("=")[2]
        for file in (K8S / "overlays" / "prod" / "settings").glob("*.env")
        for line in file.read_text().splitlines()
        if not line.startswith("#")
    ]
    overlay = (K8S / "overlays" / "example" / "kustomization.yaml").read_text()
    images = re.findall(r"newName: (\S+)", overlay)
    for placeholder in OWN:
        anywhere = [text for text in (*settings, *images, overlay) if placeholder in text]
        assert any(placeholder in value for value in named) or placeholder == "registry.example.com", placeholder
        assert anywhere or placeholder == "registry.example.com", placeholder
    assert any("console" in each.where for each in placeholders([*rendered("example")]))


@pytest.mark.parametrize("placeholder", sorted(OWN.keys() - {"registry.example.com"}))
def test_one_that_is_left_is_enough_to_fail(placeholder: str) -> None:
    text = json.dumps([*rendered("example")])
    for other in sorted(OWN, key=len, reverse=True):
        # A shorter one is part of a longer one.
        if other != placeholder and placeholder not in other:
            text = text.replace(other, OWN[other])
    manifests: list[Manifest] = json.loads(text)
    left = [*placeholders(manifests)]
    assert left
    assert all(placeholder in each.value for each in left)


def test_an_overlay_of_ones_own_passes() -> None:
    ran = check(filled(yaml.safe_dump_all(rendered("example"))))
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout


def test_the_example_itself_fails_and_says_where() -> None:
    ran = check(yaml.safe_dump_all(rendered("example")))
    assert ran.returncode == 1
    assert "Ingress/realtime spec.rules[0].host: 'notifications.shop.example.com'" in ran.stdout
    assert ran.stderr == f"{len(ran.stdout.splitlines())} placeholders are left\n"


@pytest.mark.parametrize("text", ["", "{", "- 1", "hello: world"])
def test_what_holds_no_objects_does_not_pass(text: str) -> None:
    ran = check(text)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("-: ")
    assert "Traceback" not in ran.stderr


def test_a_file_that_is_not_there_does_not_pass(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deploy.placeholders", str(tmp_path / "none.yaml")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert ran.returncode == 2
    assert "none.yaml" in ran.stderr


def test_every_kind_of_placeholder_is_one_of_the_example() -> None:
    values = [each.why for each in placeholders([*rendered("example")])]
    assert set(values) == PATTERNS.keys()
