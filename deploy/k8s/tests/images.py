"""Checks deploy/docker and deploy/compose.yaml: without an engine, by a linter and by what they must agree with."""

import re
import subprocess
from pathlib import Path

import yaml

import facts


def dockerfile_problems(deploy: Path, hadolint: str) -> list[str]:
    file = deploy / "docker" / "Dockerfile"
    outcome = subprocess.run([hadolint, "--failure-threshold", "info", str(file)], capture_output=True, text=True, check=False)
    found = [] if outcome.returncode == 0 else [(outcome.stdout + outcome.stderr).strip()]
    text = file.read_text()
    ignored = (deploy / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    members = re.search(r"^members = \[([^\]]*)\]", (facts.ROOT / "Cargo.toml").read_text(), re.M).group(1)
    for member in re.findall(r'"([^"]+)"', members):
        if f"COPY {member}/Cargo.toml {member}/" not in text:
            found.append(f"Dockerfile: the layer of dependencies lacks «COPY {member}/Cargo.toml {member}/»")
        parents = ["/".join(member.split("/")[: depth + 1]) for depth in range(member.count("/") + 1)]
        if not any(f"!{path}" in ignored for path in [*parents, f"{member}/Cargo.toml"]):
            found.append(f"Dockerfile.dockerignore: keeps {member}/Cargo.toml from the build: «!{member}/Cargo.toml»")
    for binary in facts.BINARIES:
        stage = re.search(rf"^FROM scratch AS {binary}\n(.*?)(?=^FROM|\Z)", text, re.M | re.S)
        if not stage:
            found.append(f"Dockerfile: no image {binary}")
            continue
        for line in ("USER 65532:65532", f'ENTRYPOINT ["/{binary}"]', f"COPY --from=roots /roots/{binary}/ /"):
            if line not in stage.group(1):
                found.append(f"Dockerfile: {binary}: lacks {line}")
        for key in re.findall(r"\bCOMMUNAL_[A-Z_]+", stage.group(1)):
            if key not in facts.settings(binary):
                found.append(f"Dockerfile: {binary} reads no {key}")
    wanted = re.search(r"^rust-version = \"([0-9.]+)\"", (facts.ROOT / "Cargo.toml").read_text(), re.M).group(1)
    used = re.search(r"^ARG RUST_VERSION=([0-9.]+)$", text, re.M)
    if not used or [int(n) for n in used.group(1).split(".")[:2]] < [int(n) for n in wanted.split(".")[:2]]:
        found.append(f"Dockerfile: builds with Rust {used and used.group(1)}, the workspace wants {wanted}")
    if f"ARG VERSION={facts.version()}\n" not in text:
        found.append(f"Dockerfile: VERSION is not {facts.version()}")
    return found


def compose_problems(deploy: Path) -> list[str]:
    compose = yaml.safe_load((deploy / "compose.yaml").read_text())
    services, found = compose["services"], []
    for name, service in services.items():
        image, _, tag = service.get("image", "").rpartition(":")
        binary = image.removeprefix("communal/")
        if image.startswith("communal/"):
            if binary not in facts.BINARIES or tag != facts.version():
                found.append(f"compose: {name}: image {service['image']} is not one of version {facts.version()}")
            if service.get("build", {}).get("target") != binary:
                found.append(f"compose: {name}: image {image} is built from the stage {service.get('build', {}).get('target')}")
            for key in service.get("environment", {}):
                if key.startswith("COMMUNAL_") and key not in facts.settings(binary):
                    found.append(f"compose: {name}: {binary} reads no {key}")
            for key in sorted(facts.required(binary) - set(service.get("environment", {}))) if "command" not in service else []:
                found.append(f"compose: {name}: {key} must be set")
            if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
                found.append(f"compose: {name}: must be read-only and without capabilities")
        for other, condition in service.get("depends_on", {}).items():
            if other not in services:
                found.append(f"compose: {name} waits for {other}, which is not there")
            elif condition["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                found.append(f"compose: {name} waits for the health of {other}, which has no check")
            elif condition["condition"] == "service_completed_successfully" and services[other].get("restart", "no") != "no":
                found.append(f"compose: {name} waits for the end of {other}, which is restarted")
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                found.append(f"compose: {name}: port {port} is open to the network")
        for mounted in service.get("volumes", []):
            source = str(mounted).split(":")[0]
            if source.startswith("./") and not (deploy / source).exists():
                found.append(f"compose: {name}: {source} is not there")
            if not source.startswith((".", "/")) and source not in compose.get("volumes", {}):
                found.append(f"compose: {name}: no volume {source}")
    return found


def documentation_problems(deploy: Path) -> list[str]:
    # Limits have a page of their own, with a table made from their declarations.
    limits = facts.ROOT / "docs/limits.md"
    text = (deploy / "README.md").read_text() + (limits.read_text() if limits.exists() else "")
    documented = set(re.findall(r"`(COMMUNAL_[A-Z_]+)`", text))
    known = set().union(*(facts.settings(binary) for binary in facts.BINARIES))
    found = [f"README.md: {key} is not documented" for key in sorted(known - documented)]
    return found + [f"README.md: no binary reads {key}" for key in sorted(documented - known)]
