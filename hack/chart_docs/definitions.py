"""JSON Schemas of what many values have in common; `@schema` lines of values.yaml refer to them as `#/$defs/…`."""

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NAME: Schema = {"type": "string", "minLength": 1}
ANY_OBJECT: Schema = {"type": "object"}


def closed(properties: dict[str, Schema], *required: str) -> Schema:
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": list(required)} if required else {})


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
_SOURCE = closed({"name": NAME, "optional": BOOLEAN}, "name")
_FIELD = closed({"fieldPath": NAME, "apiVersion": STRING}, "fieldPath")
_FROM_KEY = closed({"name": NAME, "key": NAME, "optional": BOOLEAN}, "name", "key")
_FROM_RESOURCE = closed({"containerName": STRING, "resource": NAME, "divisor": ref("quantity")}, "resource")
_EXPRESSION = closed({"key": NAME, "operator": NAME, "values": array(STRING)}, "key", "operator")
_SE_LINUX = closed({"level": STRING, "role": STRING, "type": STRING, "user": STRING})
_PROFILE = closed({"type": one_of("RuntimeDefault", "Localhost", "Unconfined"), "localhostProfile": STRING}, "type")
_SCALING = closed(
    {
        "stabilizationWindowSeconds": COUNT,
        "selectPolicy": one_of("Max", "Min", "Disabled"),
        "tolerance": ref("quantity"),
        "policies": array(closed({"type": one_of("Pods", "Percent"), "value": INTEGER, "periodSeconds": INTEGER})),
    }
)
_POLICY_PORT = closed(
    {"protocol": one_of("TCP", "UDP", "SCTP"), "port": {"type": ["integer", "string"]}, "endPort": ref("port")}
)
_IMAGE = closed({"registry": STRING, "repository": STRING, "tag": STRING, "digest": ref("digest")})

DEFINITIONS: dict[str, Schema] = {
    "strings": {"type": "object", "additionalProperties": STRING},
    "names": array(NAME) | {"uniqueItems": True},
    "namespace": {"type": "string", "maxLength": 63, "pattern": "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$"},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "pullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "url": {"type": "string", "pattern": "^(https?://[^/ ]+(/[^ ]*)?)?$"},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "duration": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
    "count": {"anyOf": [COUNT, {"type": "string", "pattern": "^[0-9]+%$"}]},
    "quantity": {"anyOf": [{"type": "string", "pattern": _QUANTITY}, {"type": "number", "minimum": 0}]},
    "maybeQuantity": {"anyOf": [ref("quantity"), {"type": "null"}]},
    "quantities": {"type": "object", "additionalProperties": ref("quantity")},
    "resources": closed(
        {
            "requests": ref("quantities"),
            "limits": ref("quantities"),
            "claims": array(closed({"name": NAME, "request": STRING}, "name")),
        }
    ),
    "runtime": closed({"enabled": BOOLEAN, "image": _IMAGE, "build": closed({"enabled": BOOLEAN, "image": _IMAGE})}),
    "labelSelector": closed({"matchLabels": ref("strings"), "matchExpressions": array(_EXPRESSION)}),
    "peer": closed(
        {
            "namespaceSelector": ref("labelSelector"),
            "podSelector": ref("labelSelector"),
            "ipBlock": closed({"cidr": NAME, "except": array(NAME)}, "cidr"),
        }
    ),
    "egressRule": closed({"to": array(ref("peer")), "ports": array(_POLICY_PORT)}),
    "tolerations": array(
        closed(
            {
                "key": STRING,
                "operator": one_of("Exists", "Equal", "Lt", "Gt"),
                "value": STRING,
                "effect": one_of("NoSchedule", "PreferNoSchedule", "NoExecute"),
                "tolerationSeconds": INTEGER,
            }
        )
    ),
    "affinity": closed({"nodeAffinity": ANY_OBJECT, "podAffinity": ANY_OBJECT, "podAntiAffinity": ANY_OBJECT}),
    "topologySpreadConstraints": array(
        closed(
            {
                "maxSkew": {"type": "integer", "minimum": 1},
                "topologyKey": NAME,
                "whenUnsatisfiable": one_of("DoNotSchedule", "ScheduleAnyway"),
                "labelSelector": ref("labelSelector"),
                "matchLabelKeys": array(NAME),
                "minDomains": {"type": "integer", "minimum": 1},
                "nodeAffinityPolicy": one_of("Honor", "Ignore"),
                "nodeTaintsPolicy": one_of("Honor", "Ignore"),
            },
            "maxSkew",
            "topologyKey",
            "whenUnsatisfiable",
        )
    ),
    "scalingBehavior": closed({"scaleUp": _SCALING, "scaleDown": _SCALING}),
    "podSecurityContext": closed(
        {
            "runAsNonRoot": BOOLEAN,
            "runAsUser": COUNT,
            "runAsGroup": COUNT,
            "fsGroup": COUNT,
            "fsGroupChangePolicy": one_of("Always", "OnRootMismatch"),
            "supplementalGroups": array(COUNT),
            "supplementalGroupsPolicy": one_of("Merge", "Strict"),
            "seccompProfile": _PROFILE,
            "appArmorProfile": _PROFILE,
            "seLinuxOptions": _SE_LINUX,
            "sysctls": array(closed({"name": NAME, "value": STRING}, "name", "value")),
        }
    ),
    "securityContext": closed(
        {
            "allowPrivilegeEscalation": BOOLEAN,
            "readOnlyRootFilesystem": BOOLEAN,
            "runAsNonRoot": BOOLEAN,
            "runAsUser": COUNT,
            "runAsGroup": COUNT,
            "capabilities": closed({"add": array(NAME), "drop": array(NAME)}),
            "seccompProfile": _PROFILE,
            "appArmorProfile": _PROFILE,
            "seLinuxOptions": _SE_LINUX,
        }
    ),
    "env": array(
        closed(
            {
                "name": NAME,
                "value": STRING,
                "valueFrom": closed(
                    {
                        "configMapKeyRef": _FROM_KEY,
                        "secretKeyRef": _FROM_KEY,
                        "fieldRef": _FIELD,
                        "resourceFieldRef": _FROM_RESOURCE,
                    }
                ),
            },
            "name",
        )
    ),
    "envFrom": array(closed({"prefix": STRING, "configMapRef": _SOURCE, "secretRef": _SOURCE})),
    # Kubernetes has some thirty kinds of volumes; the API server knows them.
    "volumes": array({"type": "object", "required": ["name"], "properties": {"name": NAME}}),
    "volumeMounts": array(
        closed(
            {
                "name": NAME,
                "mountPath": NAME,
                "subPath": STRING,
                "subPathExpr": STRING,
                "readOnly": BOOLEAN,
                "recursiveReadOnly": STRING,
                "mountPropagation": STRING,
            },
            "name",
            "mountPath",
        )
    ),
    "parentRefs": array(
        closed(
            {
                "group": STRING,
                "kind": STRING,
                "namespace": STRING,
                "name": NAME,
                "sectionName": STRING,
                "port": ref("port"),
            },
            "name",
        )
    ),
    "rules": array(
        closed(
            {
                "alert": NAME,
                "record": NAME,
                "expr": {"type": ["string", "integer"]},
                "for": ref("duration"),
                "keep_firing_for": ref("duration"),
                "labels": ref("strings"),
                "annotations": ref("strings"),
            },
            "expr",
        )
    ),
    "relabelings": array(
        closed(
            {
                "action": STRING,
                "sourceLabels": array(NAME),
                "separator": STRING,
                "regex": STRING,
                "targetLabel": STRING,
                "replacement": STRING,
                "modulus": INTEGER,
            }
        )
    ),
}
