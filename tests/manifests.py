"""The Kubernetes manifests as ``kubectl apply -k`` would send them, and the environment of their pods."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "prod", "prod-keda", "example")
SECRETS = "/run/secrets/carillon"

Manifest = dict[str, Any]


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Return every resource of an overlay."""
    return _kustomized(K8S / "overlays" / overlay)


def built(folder: Path, overlay: str, components: Sequence[str], **more: Any) -> tuple[Manifest, ...]:
    """Return every resource of an overlay of one's own on top of another.

    Args:
        folder: where it is written, an empty one.
        more: what else stands in its kustomization.yaml.
    """
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(K8S / "overlays" / overlay, folder)],
        "components": [os.path.relpath(K8S / "components" / each, folder) for each in components],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return _kustomized(folder)


def _kustomized(folder: Path) -> tuple[Manifest, ...]:
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command
    return tuple(yaml.safe_load_all(text))


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    """Return the resources of one kind by name."""
    return {each["metadata"]["name"]: each for each in rendered(overlay) if each["kind"] == kind}


@dataclass(frozen=True)
class Pod:
    """The pod template of one service's Deployment in one overlay."""

    overlay: str
    service: str

    @property
    def deployment(self) -> Manifest:
        """The whole Deployment."""
        return of_kind(self.overlay, "Deployment")[self.service]

    @property
    def spec(self) -> Manifest:
        """The pod's spec."""
        spec: Manifest = self.deployment["spec"]["template"]["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """The pod's labels."""
        labels: dict[str, str] = self.deployment["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def container(self) -> Manifest:
        """The one container."""
        (container,) = self.spec["containers"]
        found: Manifest = container
        return found

    @property
    def ports(self) -> dict[str, int]:
        """The container's ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def environment(self) -> dict[str, str]:
        """What the process would find: its ConfigMaps, then the variables of the manifest itself."""
        maps = of_kind(self.overlay, "ConfigMap")
        found: dict[str, str] = {}
        for source in self.container["envFrom"]:
            found |= maps[source["configMapRef"]["name"]].get("data") or {}
        return found | {variable["name"]: variable["value"] for variable in self.container["env"]}

    @property
    def secret_files(self) -> dict[str, str]:
        """The files of the mounted Secrets, each with its Secret's name; ``*`` stands for all keys of a Secret."""
        (volume,) = self.spec["volumes"]
        found: dict[str, str] = {}
        for source in volume["projected"]["sources"]:
            for item in source["secret"].get("items", []):
                found[f"{SECRETS}/{item['path']}"] = source["secret"]["name"]
            if "items" not in source["secret"]:
                found[f"{SECRETS}/*"] = source["secret"]["name"]
        return found
