"""Checks that every dependency's licence is one we accept.

Reads `cargo metadata` from standard input and the accepted licences from the file named as argument. Needs no network.
cargo-deny does this too, but costs minutes to build on each fresh machine, and its other half, security advisories,
needs a database from the network.
"""

import json
import re
import sys


def read_accepted(path):
    with open(path, encoding="utf-8") as lines:
        stripped = (line.split("#")[0].strip() for line in lines)
        return {line for line in stripped if line}


def parse(expression):
    """An SPDX expression as a nested tuple: ("is", licence), ("AND", a, b) or ("OR", a, b)."""
    # Old manifests write MIT/Apache-2.0, which means OR.
    words = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def peek():
        return words[position] if position < len(words) else None

    def take():
        nonlocal position
        word = peek()
        if word is None:
            raise ValueError("ends too early")
        position += 1
        return word

    def one():
        word = take()
        if word == "(":
            inner = either()
            if take() != ")":
                raise ValueError("unbalanced parenthesis")
            return inner
        if word in (")", "AND", "OR", "WITH"):
            raise ValueError(f"unexpected {word}")
        if peek() == "WITH":
            take()
            word = f"{word} WITH {take()}"
        return ("is", word)

    def both():
        left = one()
        while peek() == "AND":
            take()
            left = ("AND", left, one())
        return left

    def either():
        left = both()
        while peek() == "OR":
            take()
            left = ("OR", left, both())
        return left

    tree = either()
    if peek() is not None:
        raise ValueError(f"unexpected {peek()}")
    return tree


def satisfied(tree, accepted):
    kind = tree[0]
    if kind == "is":
        return tree[1] in accepted
    parts = [satisfied(part, accepted) for part in tree[1:]]
    return all(parts) if kind == "AND" else any(parts)


def self_test():
    """The expressions that occur, so that a mistake in this file cannot pass everything."""
    accepted = {"MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"}
    for expression, expected in {
        "MIT": True,
        "GPL-3.0-only": False,
        "GPL-3.0-only OR MIT": True,
        "GPL-3.0-only/MIT": True,
        "GPL-3.0-only AND MIT": False,
        "(MIT OR GPL-2.0-only) AND Unicode-3.0": True,
        "MIT OR GPL-2.0-only AND GPL-3.0-only": True,
        "(MIT OR GPL-2.0-only) AND GPL-3.0-only": False,
        "Apache-2.0 WITH LLVM-exception": True,
        "Apache-2.0": False,
    }.items():
        if satisfied(parse(expression), accepted) is not expected:
            raise SystemExit(f"licences.py is wrong about {expression}")


def main():
    self_test()
    accepted = read_accepted(sys.argv[1])
    metadata = json.load(sys.stdin)
    ours = set(metadata["workspace_members"])
    refused = []
    checked = 0
    for package in metadata["packages"]:
        if package["id"] in ours:
            continue
        checked += 1
        name = f"{package['name']} {package['version']}"
        expression = package["license"]
        if not expression:
            refused.append(f"{name}: names no licence")
            continue
        try:
            fits = satisfied(parse(expression), accepted)
        except ValueError as error:
            refused.append(f"{name}: {expression}: {error}")
            continue
        if not fits:
            refused.append(f"{name}: {expression}")
    for line in refused:
        print(line, file=sys.stderr)
    if refused:
        raise SystemExit(f"{len(refused)} of {checked} dependencies have a licence that {sys.argv[1]} does not accept")
    if checked == 0:
        raise SystemExit("no dependency was found: this is not the workspace's metadata")
    print(f"  {checked} dependencies, all under accepted licences", file=sys.stderr)


main()
