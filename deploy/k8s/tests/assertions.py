"""What a schema cannot know: that the objects of a rendering fit each other, and the binaries.

Each assertion takes an `Objects` and yields what is wrong, in words for the person who broke it.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import facts

# Seconds beyond the drain: the last spans are sent, the pool is closed.
AFTER_DRAIN = 5
# Connections that PostgreSQL keeps for itself, its replication, backups and people.
RESERVED_CONNECTIONS = 20
# What a replica takes where it is not told (kit, database.rs).
DEFAULT_CONNECTIONS = 16
# Secrets that are made outside of a rendering: by hand or by an operator, as README.md says.
SECRETS = {
    "billing-database": {"url"},
    "community-database": {"url"},
    "community-keys": {"token-key", "sealing-key"},
    "billing-postgres-app": {"uri"},
    "community-postgres-app": {"uri"},
    "billing-postgres-ca": {"ca.crt"},
    "community-postgres-ca": {"ca.crt"},
}


class Objects:
    """The objects of one rendering."""

    def __init__(self, documents: list[dict]):
        self.documents = documents

    def of(self, kind: str) -> list[dict]:
        return [document for document in self.documents if document["kind"] == kind]

    def named(self, kind: str, name: str) -> dict | None:
        return next((d for d in self.of(kind) if d["metadata"]["name"] == name), None)

    def workloads(self) -> list["Workload"]:
        return [Workload(self, d) for kind in ("Deployment", "Job") for d in self.of(kind)]

    def servers(self) -> list["Workload"]:
        return [Workload(self, d) for d in self.of("Deployment")]


class Workload:
    """A Deployment or Job of one container."""

    def __init__(self, objects: Objects, document: dict):
        self.document = document
        self.name = f"{document['kind']}/{document['metadata']['name']}"
        self.template = document["spec"]["template"]
        self.pod = self.template["spec"]
        self.labels = self.template["metadata"]["labels"]
        self.container = self.pod["containers"][0]
        self.binary, _, self.tag = self.container["image"].rpartition("/")[2].partition(":")
        self.environment: dict[str, str | None] = {}
        for given in self.container.get("envFrom", []):
            settings = objects.named("ConfigMap", given["configMapRef"]["name"])
            self.environment |= settings["data"] if settings else {}
        # A value that comes from a Secret is not known here.
        self.environment |= {e["name"]: e.get("value") for e in self.container.get("env", [])}
        self.ports = {port["containerPort"]: port.get("name") for port in self.container.get("ports", [])}

    def port_of(self, suffix: str) -> int | None:
        address = self.environment.get(f"COMMUNAL_{self.binary.upper()}_{suffix}")
        return int(address.rpartition(":")[2]) if address else None


def selects(selector: dict | None, labels: dict) -> bool:
    """Whether a label selector takes these labels; an empty one takes all."""
    selector = selector or {}
    exact = selector.get("matchLabels", {})
    if any(labels.get(key) != value for key, value in exact.items()):
        return False
    for expression in selector.get("matchExpressions", []):
        key, values = expression["key"], expression.get("values", [])
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[expression["operator"]]
        if not fits:
            return False
    return True


def probes_meet_the_configured_ports(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        for which in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = server.container.get(which)
            if not probe:
                yield f"{server.name}: no {which}"
                continue
            suffix = "ADDR" if "grpc" in probe else "ADMIN_ADDR"
            asked = (probe.get("grpc") or probe.get("httpGet"))["port"]
            if asked != server.port_of(suffix):
                yield f"{server.name}: {which} asks port {asked}, the process listens on {server.port_of(suffix)}"
        for suffix in ("ADDR", "ADMIN_ADDR"):
            if server.port_of(suffix) not in server.ports:
                yield f"{server.name}: port {server.port_of(suffix)} of COMMUNAL_…_{suffix} is not declared"
            address = server.environment.get(f"COMMUNAL_{server.binary.upper()}_{suffix}") or ""
            if not address.startswith(("0.0.0.0:", "[::]:")):
                yield f"{server.name}: {address!r} of COMMUNAL_…_{suffix} cannot be reached from outside the pod"


def probes_ask_health_that_is_told(objects: Objects) -> Iterator[str]:
    told = facts.health_names()
    meaning = {"startupProbe": "liveness", "livenessProbe": "liveness", "readinessProbe": "readiness"}
    paths = {"liveness": "/healthz", "readiness": "/readyz"}
    for server in objects.servers():
        for which, state in meaning.items():
            probe = server.container.get(which, {})
            if "grpc" in probe and probe["grpc"].get("service", "") not in told[state]:
                yield f"{server.name}: {which} asks for {probe['grpc'].get('service', '')!r}; {state} is told as {sorted(told[state])}"
            if "httpGet" in probe and probe["httpGet"].get("path") != paths[state]:
                yield f"{server.name}: {which} asks for {probe['httpGet'].get('path')}; {state} is told at {paths[state]}"


def a_pod_has_time_to_drain(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        drain = sum(
            int(server.environment.get(f"COMMUNAL_{name.upper()}") or facts.default_milliseconds(name))
            for name in ("drain_notice_ms", "drain_limit_ms")
        )
        grace = server.pod.get("terminationGracePeriodSeconds", 30)
        if grace * 1000 < drain + AFTER_DRAIN * 1000:
            yield f"{server.name}: killed after {grace} s, while draining may take {drain / 1000:g} s and {AFTER_DRAIN} s more"


def a_disruption_leaves_replicas(objects: Objects) -> Iterator[str]:
    for budget in objects.of("PodDisruptionBudget"):
        name = budget["metadata"]["name"]
        chosen = [s for s in objects.servers() if selects(budget["spec"]["selector"], s.labels)]
        if len(chosen) != 1:
            yield f"PodDisruptionBudget/{name}: selects {len(chosen)} deployments"
            continue
        scaler = objects.named("HorizontalPodAutoscaler", chosen[0].document["metadata"]["name"])
        replicas = scaler["spec"]["minReplicas"] if scaler else chosen[0].document["spec"].get("replicas", 1)
        least, most = budget["spec"].get("minAvailable"), budget["spec"].get("maxUnavailable")
        if least is not None and not 1 <= least < replicas:
            yield f"PodDisruptionBudget/{name}: {least} of {replicas} replicas must stay: none may go, or all"
        if most is not None and not 1 <= most < replicas:
            yield f"PodDisruptionBudget/{name}: {most} of {replicas} replicas may go: none, or all"
    for server in objects.servers():
        scaler = objects.named("HorizontalPodAutoscaler", server.document["metadata"]["name"])
        if scaler and "replicas" in server.document["spec"]:
            yield f"{server.name}: replicas are set, so each apply undoes what the autoscaler did"


def every_setting_is_read(objects: Objects) -> Iterator[str]:
    for workload in objects.workloads():
        known = facts.settings(workload.binary)
        for key in workload.environment:
            if key.startswith("COMMUNAL_") and key not in known:
                yield f"{workload.name}: {workload.binary} reads no {key}"


def everything_named_is_there(objects: Objects) -> Iterator[str]:
    for workload in objects.workloads():
        for given in workload.container.get("envFrom", []):
            if not objects.named("ConfigMap", given["configMapRef"]["name"]):
                yield f"{workload.name}: no ConfigMap {given['configMapRef']['name']}"
        wanted = [e["valueFrom"]["secretKeyRef"] for e in workload.container.get("env", []) if "valueFrom" in e]
        wanted += [
            {"name": volume["secret"]["secretName"], "key": item["key"]}
            for volume in workload.pod.get("volumes", [])
            for item in volume["secret"]["items"]
        ]
        for reference in wanted:
            if reference["key"] not in SECRETS.get(reference["name"], set()):
                yield f"{workload.name}: nobody makes the key {reference['key']} of a Secret {reference['name']}"
        if not objects.named("ServiceAccount", workload.pod["serviceAccountName"]):
            yield f"{workload.name}: no ServiceAccount {workload.pod['serviceAccountName']}"


def images_are_of_this_version(objects: Objects) -> Iterator[str]:
    version = facts.version()
    for workload in objects.workloads():
        if workload.binary not in facts.BINARIES:
            yield f"{workload.name}: there is no binary {workload.binary}"
        if workload.tag != version:
            yield f"{workload.name}: image {workload.container['image']} is not of version {version}"
    for job in objects.of("Job"):
        if not job["metadata"]["name"].endswith("-migrate-" + version.replace(".", "-")):
            yield f"Job/{job['metadata']['name']}: its name must end with version {version}; a Job cannot be changed"


def migrations_are_jobs(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        if server.container.get("args") != ["serve"] or server.pod.get("initContainers") or "command" in server.container:
            yield f"{server.name}: must only serve"
        reads_database = f"COMMUNAL_{server.binary.upper()}_DATABASE_URL" in server.environment
        jobs = [w for w in objects.workloads() if w.document["kind"] == "Job" and w.binary == server.binary]
        if reads_database and [job.container.get("args") for job in jobs] != [["migrate"]]:
            yield f"{server.name}: its database has no migrate Job"


def pods_are_confined(objects: Objects) -> Iterator[str]:
    namespace = objects.of("Namespace")[0]["metadata"]
    if namespace.get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "Namespace: does not enforce the restricted Pod Security standard"
    for document in objects.documents:
        home = document["metadata"].get("namespace", namespace["name"])
        if home != namespace["name"]:
            yield f"{document['kind']}/{document['metadata']['name']}: is in the namespace {home}"
    for workload in objects.workloads():
        pod, container = workload.pod.get("securityContext", {}), workload.container.get("securityContext", {})
        rules = {
            "must not run as root": pod.get("runAsNonRoot") is True and pod.get("runAsUser", 0) > 0,
            "must have the runtime's seccomp profile": pod.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "must not gain privileges": container.get("allowPrivilegeEscalation") is False,
            "must drop all capabilities": container.get("capabilities") == {"drop": ["ALL"]},
            "must not write to its image": container.get("readOnlyRootFilesystem") is True,
            "must have no token of the API server": workload.pod.get("automountServiceAccountToken") is False,
            "must have a memory limit": "memory" in container_limits(workload),
            "must be one container": len(workload.pod["containers"]) == 1,
        }
        for rule, kept in rules.items():
            if not kept:
                yield f"{workload.name}: {rule}"


def container_limits(workload: Workload) -> dict:
    return workload.container.get("resources", {}).get("limits", {})


def services_lead_somewhere(objects: Objects) -> Iterator[str]:
    for service in objects.of("Service"):
        name, specification = service["metadata"]["name"], service["spec"]
        chosen = [s for s in objects.servers() if selects({"matchLabels": specification["selector"]}, s.labels)]
        if len(chosen) != 1:
            yield f"Service/{name}: selects {len(chosen)} deployments"
            continue
        headless = specification.get("clusterIP") == "None"
        speaks_grpc = "grpc" in chosen[0].ports.values()
        if speaks_grpc and not headless:
            yield f"Service/{name}: gRPC behind a virtual address stays on one replica; it must be headless"
        for port in specification["ports"]:
            target = port.get("targetPort", port["port"])
            if target not in chosen[0].ports and target not in chosen[0].ports.values():
                yield f"Service/{name}: port {target} is not one of {chosen[0].name}"
            # A headless name leads to the pod itself: nothing is there to map ports.
            if headless and target != port["port"]:
                yield f"Service/{name}: a headless Service maps no port, but {port['port']} is mapped to {target}"
    monitored = {"admin"} if objects.of("ServiceMonitor") else set()
    for monitor in objects.of("ServiceMonitor"):
        chosen = [s for s in objects.of("Service") if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        if len(chosen) != len(objects.servers()):
            yield f"ServiceMonitor/{monitor['metadata']['name']}: scrapes {len(chosen)} of {len(objects.servers())} services"
        for service in chosen:
            if not monitored <= {port["name"] for port in service["spec"]["ports"]}:
                yield f"Service/{service['metadata']['name']}: has no port «admin» to scrape"
    for kind in ("HTTPRoute", "GRPCRoute"):
        for route in objects.of(kind):
            for rule in route["spec"]["rules"]:
                for backend in rule["backendRefs"]:
                    service = objects.named("Service", backend["name"])
                    if not service or backend["port"] not in {p["port"] for p in service["spec"]["ports"]}:
                        yield f"{kind}/{route['metadata']['name']}: leads to {backend['name']}:{backend['port']}, which is no Service"


def the_gateway_dials_the_services(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        for key, value in server.environment.items():
            if not re.fullmatch(r"COMMUNAL_GATEWAY_[A-Z]+_URL", key):
                continue
            url = urlsplit(value)
            service = objects.named("Service", url.hostname)
            if not service or url.port not in {port["port"] for port in service["spec"]["ports"]}:
                yield f"{server.name}: {key}={value} leads to no Service"
                continue
            chosen = {"matchLabels": service["spec"]["selector"]}
            target = next((s for s in objects.servers() if selects(chosen, s.labels)), None)
            if not target:
                continue  # told by services_lead_somewhere
            out, back = opened(objects, server, "egress", "to"), opened(objects, target, "ingress", "from")
            if not any(url.port in ports and selects(peer, target.labels) for ports, peer in out):
                yield f"{server.name}: no policy lets it out to {target.name} at port {url.port}"
            if not any(url.port in ports and selects(peer, server.labels) for ports, peer in back):
                yield f"{target.name}: no policy lets {server.name} in at port {url.port}"


def opened(objects: Objects, workload: Workload, direction: str, peers: str) -> list[tuple[set[int], dict]]:
    """The ports that policies open to pods of the same namespace, and the selector of those pods."""
    return [
        ({port["port"] for port in rule.get("ports", [])}, peer["podSelector"])
        for policy in objects.of("NetworkPolicy")
        if selects(policy["spec"]["podSelector"], workload.labels)
        for rule in policy["spec"].get(direction, [])
        for peer in rule.get(peers, [])
        if "podSelector" in peer and "namespaceSelector" not in peer
    ]


def the_network_is_closed_but_for_what_is_needed(objects: Objects) -> Iterator[str]:
    policies = objects.of("NetworkPolicy")
    closed = [p for p in policies if p["spec"]["podSelector"] == {} and not p["spec"].get("ingress") and not p["spec"].get("egress")]
    if not any(set(p["spec"]["policyTypes"]) == {"Ingress", "Egress"} for p in closed):
        yield "NetworkPolicy: nothing denies by default"
    for server in objects.servers():
        opened = set()
        for policy in policies:
            if policy["spec"]["podSelector"] and selects(policy["spec"]["podSelector"], server.labels):
                for rule in policy["spec"].get("ingress", []):
                    opened |= {port["port"] for port in rule.get("ports", [])}
                    if not rule.get("ports") or not rule.get("from"):
                        yield f"NetworkPolicy/{policy['metadata']['name']}: opens {server.name} to everybody, or on every port"
        main = server.port_of("ADDR")
        if main not in opened:
            yield f"{server.name}: no policy lets anybody reach port {main}"
        if objects.of("ServiceMonitor") and server.port_of("ADMIN_ADDR") not in opened:
            yield f"{server.name}: no policy lets Prometheus reach port {server.port_of('ADMIN_ADDR')}"
    for policy in policies:
        taken = [w for w in objects.workloads() if selects(policy["spec"]["podSelector"], w.labels)]
        on_databases = "cnpg.io/cluster" in str(policy["spec"]["podSelector"])
        if not taken and not on_databases:
            yield f"NetworkPolicy/{policy['metadata']['name']}: selects no pod"
    for workload in objects.workloads():
        if f"COMMUNAL_{workload.binary.upper()}_DATABASE_URL" not in workload.environment:
            continue
        out = [r for p in policies if selects(p["spec"]["podSelector"], workload.labels) for r in p["spec"].get("egress", [])]
        if not any(port["port"] == 5432 for rule in out for port in rule.get("ports", [])):
            yield f"{workload.name}: no policy lets it reach its database"


def the_database_has_connections_enough(objects: Objects) -> Iterator[str]:
    for cluster in objects.of("Cluster"):
        name = cluster["metadata"]["name"].removesuffix("-postgres")
        scaler = objects.named("HorizontalPodAutoscaler", name)
        server = next((s for s in objects.servers() if s.document["metadata"]["name"] == name), None)
        if not scaler or not server:
            yield f"Cluster/{cluster['metadata']['name']}: there is no {name} to use it"
            continue
        # One replica more while a new version comes up.
        wanted = (scaler["spec"]["maxReplicas"] + 1) * int(server.environment.get("COMMUNAL_DATABASE_CONNECTIONS") or DEFAULT_CONNECTIONS)
        offered = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"]) - RESERVED_CONNECTIONS
        if wanted > offered:
            yield f"Cluster/{name}-postgres: offers {offered} connections, {name} may want {wanted}"
        synchronous = cluster["spec"]["postgresql"].get("synchronous", {})
        spare = cluster["spec"]["instances"] - 1 - synchronous.get("number", 0)
        if synchronous.get("number", 0) < 1 or spare < 1:
            yield f"Cluster/{name}-postgres: a commit must wait for one standby, and one more must be there when it is away"


ASSERTIONS = [
    probes_meet_the_configured_ports,
    probes_ask_health_that_is_told,
    a_pod_has_time_to_drain,
    a_disruption_leaves_replicas,
    every_setting_is_read,
    everything_named_is_there,
    images_are_of_this_version,
    migrations_are_jobs,
    pods_are_confined,
    services_lead_somewhere,
    the_gateway_dials_the_services,
    the_network_is_closed_but_for_what_is_needed,
    the_database_has_connections_enough,
]


def problems(documents: list[dict]) -> list[str]:
    objects = Objects(documents)
    return [problem for assertion in ASSERTIONS for problem in assertion(objects)]
