"""Checks every object against the Kubernetes API's own schemas, at the oldest and the newest version supported."""

import json

import kubernetes_validate

OLDEST = "1.31"
NEWEST = "1.37"

# Kinds of operators, which have no schema in Kubernetes. Any other kind without a schema is an error.
CUSTOM = {
    ("barmancloud.cnpg.io/v1", "ObjectStore"),
    ("bitnami.com/v1alpha1", "SealedSecret"),
    ("cert-manager.io/v1", "Certificate"),
    ("cert-manager.io/v1", "Issuer"),
    ("external-secrets.io/v1", "ExternalSecret"),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("postgresql.cnpg.io/v1", "Cluster"),
    ("postgresql.cnpg.io/v1", "ScheduledBackup"),
}


def problems(documents: list[dict]) -> list[str]:
    found = []
    # The same object is in many renderings; it is checked once.
    unique = {json.dumps(document, sort_keys=True): document for document in documents}
    for document in unique.values():
        name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
        if (document.get("apiVersion"), document.get("kind")) in CUSTOM:
            continue
        for version in (OLDEST, NEWEST):
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{name}: Kubernetes {version} has no {document.get('apiVersion')} {document.get('kind')}")
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(step) for step in error.path)
                found.append(f"{name}: Kubernetes {version}: {path}: {error.message}")
    return found
