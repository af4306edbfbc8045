"""What a schema cannot know: that the objects of a rendering fit each other, and the binaries.

Each assertion takes an `Objects` and yields what is wrong, in words for the person who broke it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

import facts

# Seconds after the drain, for exporting the last spans and closing the pool.
AFTER_DRAIN = 5
# Connections that PostgreSQL needs for itself, its replication, backups and administrators.
RESERVED_CONNECTIONS = 20
# The connections of a replica if the setting is absent (kit, database/mod.rs).
DEFAULT_CONNECTIONS = 16
# Further connections: one for work outside of calls (kit, pool.rs), one for the readiness check (readiness.rs).
OWN_CONNECTIONS = 2
# Secrets that are created outside of a rendering: by hand or by an operator, as README.md says.
SECRETS = {
    "billing-database": {"url", "owner-url"},
    "community-database": {"url", "owner-url"},
    "billing-keys": {"sealing-key"},
    "community-keys": {"token-key", "sealing-key"},
    "gateway-keys": {"gateway-key"},
    "billing-postgres-app": {"uri"},
    "community-postgres-app": {"uri"},
    "billing-postgres-server": {"username", "password", "uri"},
    "community-postgres-server": {"username", "password", "uri"},
    "billing-postgres-ca": {"ca.crt"},
    "community-postgres-ca": {"ca.crt"},
}
# The keys of a Secret of cert-manager.
CERTIFICATE_KEYS = {"tls.crt", "tls.key", "ca.crt"}
# The endings of settings that name a file of a certificate, with the key of the Secret that holds it.
CERTIFICATE_SETTINGS = {
    "_TLS_CERTIFICATE": "tls.crt",
    "_TLS_KEY": "tls.key",
    "_TLS_CA": "ca.crt",
    "_TLS_CLIENT_CA": "ca.crt",
    "PGSSLROOTCERT": "ca.crt",
    "PGSSLCERT": "tls.crt",
    "PGSSLKEY": "tls.key",
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
        return [Workload(self, d) for kind in ("Deployment", "Job", "CronJob") for d in self.of(kind)]

    def servers(self) -> list["Workload"]:
        return [Workload(self, d) for d in self.of("Deployment")]

    def namespace(self) -> str:
        return self.of("Namespace")[0]["metadata"]["name"]

    def keys_of_secret(self, name: str) -> set[str]:
        """The keys that somebody puts into a Secret."""
        return CERTIFICATE_KEYS if self.certificate_in(name) else SECRETS.get(name, set())

    def certificate_in(self, secret: str | None) -> dict | None:
        """The Certificate that is kept in a Secret."""
        return next((c for c in self.of("Certificate") if c["spec"]["secretName"] == secret), None)


class Workload:
    """A Deployment, Job or CronJob of one container."""

    def __init__(self, objects: Objects, document: dict):
        self.document = document
        self.name = f"{document['kind']}/{document['metadata']['name']}"
        spec = document["spec"]
        self.template = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
        self.pod = self.template["spec"]
        self.labels = self.template["metadata"]["labels"]
        self.container = self.pod["containers"][0]
        self.binary, _, self.tag = self.container["image"].rpartition("/")[2].partition(":")
        self.environment: dict[str, str | None] = {}
        for given in self.container.get("envFrom", []):
            settings = objects.named("ConfigMap", given["configMapRef"]["name"])
            self.environment |= settings["data"] if settings else {}
        # A value from a Secret is not known here.
        self.environment |= {e["name"]: e.get("value") for e in self.container.get("env", [])}
        self.ports = {port["containerPort"]: port.get("name") for port in self.container.get("ports", [])}

    def port_of(self, suffix: str) -> int | None:
        address = self.environment.get(f"COMMUNAL_{self.binary.upper()}_{suffix}")
        return int(address.rpartition(":")[2]) if address else None

    def speaks_tls(self) -> bool:
        return "COMMUNAL_TLS_CERTIFICATE" in self.environment

    def mounted(self, path: str) -> "Mounted | None":
        """What of a Secret is mounted at a path."""
        for mount in self.container.get("volumeMounts", []):
            folder, _, file = path.rpartition("/")
            volume = next((v for v in self.pod.get("volumes", []) if v["name"] == mount["name"]), None)
            if not volume or "secret" not in volume or mount["mountPath"] not in (folder, path):
                continue
            items = {item["path"]: item["key"] for item in volume["secret"].get("items", [])}
            # With subPath it is a single file.
            file = mount.get("subPath", file)
            return Mounted(mount, volume["secret"], items.get(file) if items else file)
        return None

    def secret_of(self, setting: str) -> str | None:
        """The Secret that holds the file that a setting names."""
        found = self.mounted(self.environment.get(setting) or "")
        return found.secret["secretName"] if found else None


class Mounted(NamedTuple):
    """A file of a Secret in a container."""

    mount: dict
    secret: dict
    key: str | None


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


def every_setting_that_is_needed_is_given(objects: Objects) -> Iterator[str]:
    for workload in objects.workloads():
        needed = facts.required(workload.binary)
        if workload.document["kind"] in ("Job", "CronJob"):
            needed &= {f"COMMUNAL_{workload.binary.upper()}_DATABASE_URL"}
        for key in sorted(needed - set(workload.environment)):
            yield f"{workload.name}: {key} must be set"


def secrets_are_made_once_and_whole(objects: Objects) -> Iterator[str]:
    makers: dict[str, list[str]] = {}
    for kind in ("ExternalSecret", "SealedSecret"):
        for maker in objects.of(kind):
            made = maker["spec"]
            if kind == "ExternalSecret":
                name, keys = made["target"]["name"], {entry["secretKey"] for entry in made["data"]}
            else:
                name, keys = made["template"]["metadata"]["name"], set(made["encryptedData"])
            makers.setdefault(name, []).append(kind)
            if keys != SECRETS.get(name):
                yield f"{kind}/{maker['metadata']['name']}: makes the keys {sorted(keys)} of a Secret {name}"
    for name, kinds in makers.items():
        if len(kinds) > 1:
            yield f"Secret/{name}: is made by {' and '.join(kinds)}"


def everything_named_is_there(objects: Objects) -> Iterator[str]:
    for workload in objects.workloads():
        for given in workload.container.get("envFrom", []):
            if not objects.named("ConfigMap", given["configMapRef"]["name"]):
                yield f"{workload.name}: no ConfigMap {given['configMapRef']['name']}"
        wanted = [e["valueFrom"]["secretKeyRef"] for e in workload.container.get("env", []) if "valueFrom" in e]
        secrets = [volume["secret"] for volume in workload.pod.get("volumes", [])]
        wanted += [{"name": secret["secretName"], "key": item["key"]} for secret in secrets for item in secret.get("items", [])]
        for reference in wanted:
            if reference["key"] not in objects.keys_of_secret(reference["name"]):
                yield f"{workload.name}: nobody makes the key {reference['key']} of a Secret {reference['name']}"
        for secret in secrets:
            if not objects.keys_of_secret(secret["secretName"]):
                yield f"{workload.name}: nobody makes a Secret {secret['secretName']}"
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
            # A headless name resolves to the pod itself, where nothing maps ports.
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


def dialled(workload: Workload) -> Iterator[tuple[str, SplitResult]]:
    """The services that a workload calls, by setting and URL."""
    for key, value in workload.environment.items():
        if re.fullmatch(r"COMMUNAL_GATEWAY_[A-Z]+_URL", key):
            yield key, urlsplit(value)


def behind(objects: Objects, service: dict | None) -> Workload | None:
    """The Deployment that a Service leads to."""
    if not service:
        return None
    chosen = {"matchLabels": service["spec"]["selector"]}
    return next((server for server in objects.servers() if selects(chosen, server.labels)), None)


def the_gateway_dials_the_services(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        for key, url in dialled(server):
            service = objects.named("Service", url.hostname)
            if not service or url.port not in {port["port"] for port in service["spec"]["ports"]}:
                yield f"{server.name}: {key}={url.geturl()} leads to no Service"
                continue
            target = behind(objects, service)
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
        # One more replica during a rolling update.
        of_a_replica = int(server.environment.get("COMMUNAL_DATABASE_CONNECTIONS") or DEFAULT_CONNECTIONS) + OWN_CONNECTIONS
        wanted = (scaler["spec"]["maxReplicas"] + 1) * of_a_replica
        offered = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"]) - RESERVED_CONNECTIONS
        if wanted > offered:
            yield f"Cluster/{name}-postgres: offers {offered} connections, {name} may want {wanted}"
        synchronous = cluster["spec"]["postgresql"].get("synchronous", {})
        spare = cluster["spec"]["instances"] - 1 - synchronous.get("number", 0)
        if synchronous.get("number", 0) < 1 or spare < 1:
            yield f"Cluster/{name}-postgres: a commit must wait for one standby, and one more must be there when it is away"


def routes_name_the_services_that_clients_call(objects: Objects) -> Iterator[str]:
    for route in objects.of("GRPCRoute"):
        name = f"GRPCRoute/{route['metadata']['name']}"
        for rule in route["spec"]["rules"]:
            named = {match.get("method", {}).get("service") for match in rule.get("matches", [{}])}
            for backend in rule["backendRefs"]:
                wanted = facts.grpc_services(backend["name"])
                for missing in sorted(wanted - named):
                    yield f"{name}: leads nowhere for {missing}"
                for other in sorted(str(service) for service in named - wanted):
                    yield f"{name}: lets {other} in from outside" if other != "None" else f"{name}: lets every service in from outside"


def administration_is_closed_to_the_network(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        address = server.environment.get(f"COMMUNAL_{server.binary.upper()}_IDENTITY_ADDR") or ""
        if address and not address.startswith(("127.0.0.1:", "[::1]:")):
            yield f"{server.name}: {address} of COMMUNAL_…_IDENTITY_ADDR can be reached from outside the pod"
        if server.port_of("IDENTITY_ADDR") in server.ports:
            yield f"{server.name}: declares the port of administration"


def servers_do_not_own_their_tables(objects: Objects) -> Iterator[str]:
    def url_of(workload: Workload) -> dict | None:
        name = f"COMMUNAL_{workload.binary.upper()}_DATABASE_URL"
        given = (e for e in workload.container.get("env", []) if e["name"] == name)
        return next((e.get("valueFrom", {}).get("secretKeyRef") for e in given), None)

    for server in objects.servers():
        for job in objects.workloads():
            same = job.document["kind"] == "Job" and job.binary == server.binary and url_of(job) == url_of(server)
            if same:
                yield f"{server.name}: connects as the role that migrates"


def a_gateway_is_known_to_the_services(objects: Objects) -> Iterator[str]:
    def key_of(workload: Workload) -> dict | None:
        given = (e for e in workload.container.get("env", []) if e["name"] == "COMMUNAL_GATEWAY_KEY")
        return next((e.get("valueFrom", {}).get("secretKeyRef") for e in given), None)

    for client in objects.workloads():
        if client.binary == "gateway":
            theirs = [w for w in objects.servers() if w.binary != "gateway" and key_of(w) != key_of(client)]
            if not key_of(client):
                yield f"{client.name}: has no COMMUNAL_GATEWAY_KEY, so no signed call is served"
            for server in theirs:
                yield f"{server.name}: does not know {client.name} by the same COMMUNAL_GATEWAY_KEY"


def files_of_certificates_are_there(objects: Objects) -> Iterator[str]:
    for workload in objects.workloads():
        for setting, path in workload.environment.items():
            wanted = next((key for end, key in CERTIFICATE_SETTINGS.items() if setting.endswith(end)), None)
            if not wanted:
                continue
            told = f"{workload.name}: {setting}={path}"
            found = workload.mounted(path or "")
            if not found:
                yield f"{told}: no Secret is mounted there"
                continue
            name = found.secret["secretName"]
            if found.key != wanted or wanted not in objects.keys_of_secret(name):
                yield f"{told}: is {found.key} of the Secret {name}, wanted is its {wanted}"
            if "subPath" in found.mount:
                yield f"{told}: what is mounted by subPath never changes, so a renewed certificate would not be seen"
            if not found.mount.get("readOnly"):
                yield f"{told}: must be mounted read-only"
            # Files of a Secret belong to root and to the pod's group.
            mode = found.secret.get("defaultMode", 0o644)
            if not mode & 0o040 or "fsGroup" not in workload.pod.get("securityContext", {}):
                yield f"{told}: cannot be read by user {workload.pod['securityContext'].get('runAsUser')}"
            if wanted == "tls.key" and mode & 0o007:
                yield f"{told}: a key must not be for everybody to read (defaultMode {mode:04o})"


def encryption_is_agreed(objects: Objects) -> Iterator[str]:
    for client in objects.servers():
        for key, url in dialled(client):
            server = behind(objects, objects.named("Service", url.hostname))
            if not server:
                continue  # told by the_gateway_dials_the_services
            if (url.scheme == "https") != server.speaks_tls():
                speaks = "TLS" if server.speaks_tls() else "plain text"
                yield f"{client.name}: {key}={url.geturl()}, but {server.name} speaks {speaks}"
                continue
            if not server.speaks_tls():
                continue
            theirs = objects.certificate_in(server.secret_of("COMMUNAL_TLS_CERTIFICATE"))
            ours = objects.certificate_in(client.secret_of("COMMUNAL_GATEWAY_TLS_CERTIFICATE"))
            if not theirs:
                yield f"{server.name}: no Certificate is kept where its COMMUNAL_TLS_CERTIFICATE is"
                continue
            if url.hostname not in theirs["spec"].get("dnsNames", []):
                yield f"Certificate/{theirs['metadata']['name']}: is not for {url.hostname}, which {client.name} dials"
            if "server auth" not in theirs["spec"]["usages"]:
                yield f"Certificate/{theirs['metadata']['name']}: is not for a server (server auth)"
            if "COMMUNAL_TLS_CLIENT_CA" not in server.environment:
                yield f"{server.name}: asks for no client's certificate (COMMUNAL_TLS_CLIENT_CA)"
            elif not ours:
                yield f"{client.name}: has no certificate to show {server.name}"
            elif "client auth" not in ours["spec"]["usages"]:
                yield f"Certificate/{ours['metadata']['name']}: is not for a client (client auth)"
            # The ca.crt in a Secret is that of its own issuer, so both sides must have the same issuer.
            if ours and ours["spec"]["issuerRef"] != theirs["spec"]["issuerRef"]:
                yield f"{client.name} and {server.name}: their certificates are of different issuers"


def certificates_can_be_issued(objects: Objects) -> Iterator[str]:
    for certificate in objects.of("Certificate"):
        name, wanted = certificate["metadata"]["name"], certificate["spec"]
        for host in wanted.get("dnsNames", []):
            qualified = re.fullmatch(r"([^.]+)\.([^.]+)(\.svc(\..*)?)?", host)
            if qualified and objects.named("Service", qualified[1]) and qualified[2] != objects.namespace():
                yield f"Certificate/{name}: {host} is of another namespace than {objects.namespace()}"
        if hours(wanted["renewBefore"]) * 2 > hours(wanted["duration"]):
            yield f"Certificate/{name}: is renewed {wanted['renewBefore']} before the end of {wanted['duration']}"
        if wanted.get("isCA") and wanted["privateKey"].get("rotationPolicy") != "Never":
            yield f"Certificate/{name}: with a new key, an authority would no longer vouch for what it signed before"
        # A ClusterIssuer belongs to the cluster, not to the rendering.
        if wanted["issuerRef"]["kind"] != "Issuer":
            continue
        issuer = objects.named("Issuer", wanted["issuerRef"]["name"])
        if not issuer:
            yield f"Certificate/{name}: there is no Issuer {wanted['issuerRef']['name']}"
        elif "ca" in issuer["spec"]:
            authority = objects.certificate_in(issuer["spec"]["ca"]["secretName"])
            if not authority or not authority["spec"].get("isCA"):
                yield f"Issuer/{issuer['metadata']['name']}: no authority is kept in {issuer['spec']['ca']['secretName']}"
            elif hours(authority["spec"]["renewBefore"]) < hours(wanted["duration"]):
                yield f"Certificate/{name}: may outlive the authority that signs it"


def hours(duration: str) -> int:
    return int(duration.removesuffix("h"))


def nobody_takes_tls_for_plain_text(objects: Objects) -> Iterator[str]:
    for server in objects.servers():
        if server.speaks_tls():
            for which in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "grpc" in server.container.get(which, {}):
                    yield f"{server.name}: {which} speaks plain text to a port that speaks TLS"
    for service in objects.of("Service"):
        server = behind(objects, service)
        for port in service["spec"]["ports"]:
            wanted = "https" if server and server.speaks_tls() else "kubernetes.io/h2c"
            if port["name"] == "grpc" and port.get("appProtocol") != wanted:
                yield f"Service/{service['metadata']['name']}: appProtocol of its port grpc must be {wanted}"
    for route in objects.of("GRPCRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                server = behind(objects, objects.named("Service", backend["name"]))
                if server and server.speaks_tls():
                    yield (
                        f"GRPCRoute/{route['metadata']['name']}: no Gateway has a certificate to show {server.name}; "
                        "list mtls after gateway-api"
                    )
    if any(server.speaks_tls() for server in objects.servers()) and objects.named("NetworkPolicy", "grpc-from-gateways"):
        yield "NetworkPolicy/grpc-from-gateways: nothing comes that way; list mtls after gateway-api"


ASSERTIONS = [
    probes_meet_the_configured_ports,
    probes_ask_health_that_is_told,
    a_pod_has_time_to_drain,
    a_disruption_leaves_replicas,
    every_setting_is_read,
    every_setting_that_is_needed_is_given,
    secrets_are_made_once_and_whole,
    everything_named_is_there,
    images_are_of_this_version,
    migrations_are_jobs,
    pods_are_confined,
    services_lead_somewhere,
    the_gateway_dials_the_services,
    the_network_is_closed_but_for_what_is_needed,
    the_database_has_connections_enough,
    routes_name_the_services_that_clients_call,
    administration_is_closed_to_the_network,
    servers_do_not_own_their_tables,
    a_gateway_is_known_to_the_services,
    files_of_certificates_are_there,
    encryption_is_agreed,
    certificates_can_be_issued,
    nobody_takes_tls_for_plain_text,
]


def problems(documents: list[dict]) -> list[str]:
    objects = Objects(documents)
    return [problem for assertion in ASSERTIONS for problem in assertion(objects)]
