"""Renders the manifests: both overlays as they are, and every sensible combination of components over the base."""

import itertools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

# Exactly one of these, because a database is needed; Secrets come from one of those, or are created by hand; the rest
# may be combined freely.
DATABASES = ["cnpg", "external-database"]
SECRETS = [[], ["external-secrets"], ["sealed-secrets"]]
OPTIONAL = ["gateway-api", "mtls", "observability", "tracing"]
OVERLAYS = ["dev", "production"]
# The reader of libyaml if it is built in: it is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderingError(Exception):
    """kustomize refused."""


def kustomize(folder: Path) -> list[dict]:
    """What `kubectl apply -k` would send. Needs no network: nothing remote may be referenced."""
    command = ["kubectl", "kustomize", str(folder)]
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if outcome.returncode != 0:
        raise RenderingError(outcome.stderr.strip())
    return [document for document in yaml.load_all(outcome.stdout, Loader=LOADER) if document]


def combinations() -> list[list[str]]:
    chosen = []
    for database, secrets in itertools.product(DATABASES, SECRETS):
        for size in range(len(OPTIONAL) + 1):
            chosen += [[database, *secrets, *others] for others in itertools.combinations(OPTIONAL, size)]
    # The order must not matter, except for mtls, which removes a part of gateway-api.
    chosen.append(["tracing", "observability", "gateway-api", "external-secrets", "cnpg", "mtls"])
    chosen.append(["gateway-api", "mtls", "cnpg"])
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


def render_all(manifests: Path, scratch: Path, chosen: list[list[str]]) -> dict[str, list[dict]]:
    """The overlays and some combinations, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        overlays = {f"overlay {name}": pool.submit(kustomize, manifests / "overlays" / name) for name in OVERLAYS}
        others = {
            "base + " + " + ".join(components): pool.submit(render_combination, manifests, components, scratch)
            for components in chosen
        }
        return {name: rendering.result() for name, rendering in {**overlays, **others}.items()}
