"""What the manifests must agree with, read from the source code, so that neither can drift alone."""

import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

# The crates whose sources make up each binary.
BINARIES = {
    "billing": ["services/kit/src", "services/billing/src"],
    "community": ["services/kit/src", "services/community/src"],
    "gateway": ["services/kit/src", "gateway/src"],
    "communal": ["services/kit/src", "services/billing/src", "services/community/src", "gateway/src", "deploy/standalone/src"],
}
KIT = "services/kit/src"
# The modules of the kit that the gateway does not use: it has no database, no gRPC server and no callers of its own.
# It proves the signature states that it forwards.
NOT_OF_THE_GATEWAY = tuple(f"{KIT}/{part}" for part in ("database", "identity/", "server/"))
OF_THE_GATEWAY = f"{KIT}/identity/vouching.rs"


def version() -> str:
    """The version of the workspace, which every image carries."""
    text = (ROOT / "Cargo.toml").read_text()
    return re.search(r'\[workspace\.package\][^\[]*?^version = "([^"]+)"', text, re.M | re.S).group(1)


@lru_cache
def source(folder: str) -> dict[str, str]:
    """Each Rust file of a folder by its path, without comments and unit tests."""
    files = {}
    for path in sorted((ROOT / folder).rglob("*.rs")):
        if "test" in path.stem:
            continue
        text = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.M)
        files[str(path.relative_to(ROOT))] = text.split("#[cfg(test)]")[0]
    return files


def enclosed(text: str, start: int) -> str:
    """The text between the parenthesis at `start` and the one that closes it."""
    depth = 0
    for end in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            return text[start + 1 : end]
    return text[start + 1 :]


# Settings are read by the reader itself, or by a function that gets the reader and the names.
READS = re.compile(r'\breader\s*\.\s*(?:text|parsed|optional|required|secret)\s*(?=\()')
HANDS_ON = re.compile(r"\b\w+\s*(?=\(\s*(?:&mut\s+)?reader\s*,)")
# Limits are declared in a table, with the kind and the name of each.
LIMITS = re.compile(r"\blimits!\s*\{(.*?)\n\}", re.S)
LIMIT = re.compile(r'\b(?:count|time|bytes)\(\s*"([a-z][a-z0-9_]*)"')
NAME = re.compile(r'^"([a-z][a-z0-9_]*)"$')
CONSTANT = re.compile(r"\bconst ([A-Z_]+): &(?:'static )?str =\s*(\"[^\"]*\")")


def names_in(call: str, first_only: bool) -> set[str]:
    literals = re.findall(r'"[^"]*"', call)
    names = [m.group(1) for m in map(NAME.match, literals) if m]
    return set(names[:1] if first_only else names)


def with_constants(text: str) -> str:
    """A source text with the values of its text constants in place of their names."""
    for constant, value in CONSTANT.findall(text):
        text = re.sub(rf"\b{constant}\b(?!:)", lambda _, value=value: value, text)
    return text


@lru_cache
def sources(binary: str) -> list[str]:
    """The texts that a binary is made of, with the values of their constants in place."""
    texts = []
    for folder in BINARIES[binary]:
        for path, text in source(folder).items():
            if binary == "gateway" and path.startswith(NOT_OF_THE_GATEWAY) and path != OF_THE_GATEWAY:
                continue
            texts.append(with_constants(text))
    return texts


@lru_cache
def settings(binary: str) -> frozenset[str]:
    """The environment variables that a binary reads."""
    found = {"config"}
    for text in sources(binary):
        for table in LIMITS.findall(text):
            found |= set(LIMIT.findall(table))
        for match in READS.finditer(text):
            found |= names_in(enclosed(text, match.end()), first_only=True)
        for match in HANDS_ON.finditer(text):
            found |= names_in(enclosed(text, match.end()), first_only=False)
    return frozenset("COMMUNAL_" + name.upper() for name in found)


@lru_cache
def required(binary: str) -> frozenset[str]:
    """The environment variables without which a binary does not serve."""
    reads = re.compile(r'reader\s*\.\s*required\(\s*"([a-z_]+)"|DatabaseSettings::read\(\s*(?:&mut\s+)?reader,\s*"([a-z_]+)"')
    found = {first or second for text in sources(binary) for first, second in reads.findall(text)}
    return frozenset("COMMUNAL_" + name.upper() for name in found)


@lru_cache
def grpc_services(package: str) -> frozenset[str]:
    """The gRPC services of a package of the contract, by their full names."""
    folder = ROOT / "proto/communal" / package / "v1"
    names = {name for path in folder.glob("*.proto") for name in re.findall(r"^service (\w+)", path.read_text(), re.M)}
    return frozenset(f"communal.{package}.v1.{name}" for name in names)


def health_names() -> dict[str, set[str]]:
    """The names under which a service tells its health, by what they say."""
    text = source(KIT)["services/kit/src/server/readiness.rs"]
    liveness = re.search(r'const LIVENESS: &str = "([^"]*)"', text).group(1)
    readiness = re.search(r"const READINESS: \[&str; \d+\] = \[([^\]]*)\]", text).group(1)
    return {"liveness": {liveness}, "readiness": set(re.findall(r'"([^"]*)"', readiness))}


def default_milliseconds(name: str) -> int:
    """The default of a time that the kit reads."""
    text = source(KIT)["services/kit/src/server/mod.rs"]
    return int(re.search(rf'"{name}",\s*([0-9_]+)', text).group(1).replace("_", ""))


@lru_cache
def metrics() -> dict[str, str]:
    """Every metric that some binary exports: its name and kind."""
    found = {}
    for folder in BINARIES["communal"]:
        for text in source(folder).values():
            for kind, name in re.findall(r'\b(counter|gauge|histogram)!\(\s*"([a-z0-9_]+)"', with_constants(text)):
                found[name] = kind
    return found


@lru_cache
def bucketed() -> tuple[str, ...]:
    """How the names of histograms end that have buckets; of others the process itself computes quantiles."""
    text = source(KIT)["services/kit/src/telemetry/metrics.rs"]
    return tuple(re.findall(r'set_buckets_for_metric\(Matcher::Suffix\("([a-z0-9_]+)"', text))


def series() -> set[str]:
    """The names under which Prometheus stores them. `up` is its own: whether a scrape succeeded."""
    names = {"up"}
    for name, kind in metrics().items():
        if kind != "histogram":
            names.add(name)
            continue
        names |= {f"{name}_sum", f"{name}_count"}
        names.add(f"{name}_bucket" if name.endswith(bucketed()) else name)
    return names
