"""Renders the manifests: both overlays as they are, and every sensible combination of components over the base."""

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import yaml

# A database is always needed, from one of these; the rest may be combined at will.
DATABASES = ["cnpg", "external-database"]
OPTIONAL = ["external-secrets", "gateway-api", "observability", "tracing"]
OVERLAYS = ["dev", "production"]


class RenderingError(Exception):
    """kustomize refused."""


def kustomize(folder: Path) -> list[dict]:
    """What `kubectl apply -k` would send. Needs no network: nothing remote may be referenced."""
    command = ["kubectl", "kustomize", str(folder)]
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if outcome.returncode != 0:
        raise RenderingError(outcome.stderr.strip())
    return [document for document in yaml.safe_load_all(outcome.stdout) if document]


def combinations() -> list[list[str]]:
    chosen = []
    for database in DATABASES:
        for size in range(len(OPTIONAL) + 1):
            chosen += [[database, *others] for others in itertools.combinations(OPTIONAL, size)]
    return chosen


def render_combination(manifests: Path, components: list[str], scratch: Path) -> list[dict]:
    """kustomize takes relative paths only, so the kustomization is written where the paths can be named."""
    folder = scratch / "-".join(components)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    relative = os.path.relpath(manifests.resolve(), folder.resolve())
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "communal",
        "resources": [f"{relative}/base"],
        "components": [f"{relative}/components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(folder)


def render_all(manifests: Path, scratch: Path) -> dict[str, list[dict]]:
    rendered = {f"overlay {name}": kustomize(manifests / "overlays" / name) for name in OVERLAYS}
    for components in combinations():
        rendered["base + " + " + ".join(components)] = render_combination(manifests, components, scratch)
    return rendered
