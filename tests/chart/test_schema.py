"""A value that can't be meant is refused on the laptop, by its name."""

from typing import Any

import pytest
from chart import CHART, PROFILES, HelmRefused, helm, rendered

EXTERNAL = {
    "localStores": {"enabled": False},
    "stores": {"s3": {"bucket": "code"}},
    "queue": {"redis": {"existingSecret": "redis"}},
}
INVOKERS = "arn:aws:iam::111122223333:role/lateen-invoker"
FOR_STS = {"enabled": True, "audience": "sts.amazonaws.com"}

# What is given, and what the refusal has to name.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 3}, "replicas"),
    ({"api": {"replica": 3}}, "/api"),
    ({"api": {"replicas": -1}}, "/api/replicas"),
    ({"api": {"replicas": "3"}}, "/api/replicas"),
    ({"api": {"autoscaling": {"minReplicas": 0}}}, "/api/autoscaling/minReplicas"),
    ({"api": {"autoscaling": {"enabled": "yes"}}}, "/api/autoscaling/enabled"),
    ({"api": {"resources": {"limit": {"memory": "1Gi"}}}}, "/api/resources"),
    ({"api": {"resources": {"limits": {"memory": "1 GB"}}}}, "/api/resources/limits/memory"),
    ({"api": {"service": {"type": "ExternalName"}}}, "/api/service/type"),
    ({"api": {"service": {"port": 70000}}}, "/api/service/port"),
    ({"api": {"service": {"ipFamilies": ["IPv5"]}}}, "/api/service/ipFamilies/0"),
    ({"api": {"extraEnv": {"A": "b"}}}, "/api/extraEnv"),
    ({"api": {"extraEnv": [{"name": "A", "value": 1}]}}, "/api/extraEnv/0/value"),
    ({"api": {"extraVolumes": [{"emptyDir": {}}]}}, "/api/extraVolumes/0"),
    ({"api": {"tolerations": [{"key": "a", "effect": "NoRun"}]}}, "/api/tolerations/0/effect"),
    ({"api": {"affinity": {"nodeAffinty": {}}}}, "/api/affinity"),
    ({"api": {"topologySpreadConstraints": [{"topologyKey": "zone"}]}}, "/api/topologySpreadConstraints/0"),
    ({"api": {"securityContext": {"privileged": True}}}, "/api/securityContext"),
    ({"api": {"podSecurityContext": {"runAsUser": "root"}}}, "/api/podSecurityContext/runAsUser"),
    ({"api": {"readinessProbe": {"periodSeconds": 0}}}, "/api/readinessProbe/periodSeconds"),
    ({"api": {"rollingUpdate": {"maxSurge": "some"}}}, "/api/rollingUpdate/maxSurge"),
    ({"gateway": {"podDisruptionBudget": {"minAvailable": 1}}}, "/gateway/podDisruptionBudget"),
    ({"controller": {"service": {}}}, "/controller"),
    ({"controller": {"serviceAccount": {"annotations": {"a": 1}}}}, "/controller/serviceAccount/annotations/a"),
    ({"image": {"digest": "sha256:12"}}, "/image/digest"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"global": {"imagePullSecrets": [{"name": "a"}]}}, "/global/imagePullSecrets/0"),
    ({"fullnameOverride": "Lateen"}, "/fullnameOverride"),
    ({"fullnameOverride": "l" * 41}, "/fullnameOverride"),
    ({"clusterDomain": ""}, "/clusterDomain"),
    ({"logLevel": "debug"}, "/logLevel"),
    ({"corsOrigins": ["console.example.org"]}, "/corsOrigins/0"),
    ({"hosts": "example.org"}, "/hosts"),
    ({"url": "example.org"}, "/url"),
    ({"retentionDays": 0}, "/retentionDays"),
    ({"drainSeconds": 0}, "/drainSeconds"),
    ({"drainLagSeconds": 301}, "/drainLagSeconds"),
    ({"stores": {"region": "EU"}}, "/stores/region"),
    ({"stores": {"s3": {"bucket": "No_Such"}}}, "/stores/s3/bucket"),
    ({"stores": {"dynamodb": {"table": "a b"}}}, "/stores/dynamodb/table"),
    ({"stores": {"dynamodb": {"endpoint": "localhost:8000"}}}, "/stores/dynamodb/endpoint"),
    ({"stores": {"credentials": {"secretAccessKey": "x"}}}, "/stores/credentials"),
    ({"auth": {"masterKey": "x"}}, "/auth"),
    ({"localStores": {"persistence": {"size": "big"}}}, "/localStores/persistence/size"),
    ({"functions": {"namespace": "Functions"}}, "/functions/namespace"),
    ({"functions": {"images": {"allowed": ["team"]}}}, "/functions/images/allowed/0"),
    ({"functions": {"roleArn": "role/lateen"}}, "/functions/roleArn"),
    ({"functions": {"firstUserId": 0}}, "/functions/firstUserId"),
    ({"functions": {"requestRatio": 0}}, "/functions/requestRatio"),
    ({"functions": {"requestRatio": 1.5}}, "/functions/requestRatio"),
    ({"functions": {"runtimes": {"python3.12": {"img": {}}}}}, "/functions/runtimes/python3.12"),
    ({"functions": {"runtimes": {"../up": {"image": {}}}}}, "/functions/runtimes"),
    ({"functions": {"network": {"egress": {"extra": [{"cidr": "10.0.0.0/8"}]}}}}, "/functions/network/egress/extra/0"),
    ({"functions": {"network": {"egress": {"dns": {"namespace": "kube-system"}}}}}, "/functions/network/egress/dns"),
    # Without a port a policy's rule is for all of them.
    ({"functions": {"network": {"egress": {"dnsPorts": []}}}}, "/functions/network/egress/dnsPorts"),
    ({"ingress": {"host": "example.org"}}, "/ingress"),
    ({"ingress": {"tls": [{"secret": "a"}]}}, "/ingress/tls/0"),
    ({"metrics": {"podMonitor": {"interval": 30}}}, "/metrics/podMonitor/interval"),
    ({"tests": {"timeoutSeconds": 0}}, "/tests/timeoutSeconds"),
    # What a schema can't say, templates do.
    ({"localStores": {"enabled": False}}, "stores.s3.bucket"),
    ({**EXTERNAL, "queue": {}}, "queue.redis.existingSecret"),
    ({"queue": {"redis": {"existingSecret": "redis"}}}, "localStores.enabled"),
    ({"worker": {"concurrency": 0}}, "/worker/concurrency"),
    ({"stores": {"s3": {"endpoint": "https://s3.example.org"}}}, "localStores.enabled"),
    ({"api": {"autoscaling": {"minReplicas": 11}}}, "api.autoscaling"),
    (
        {"api": {"autoscaling": {"targetCPUUtilizationPercentage": None, "targetMemoryUtilizationPercentage": None}}},
        "api.autoscaling",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs"),
    ({"functions": {"httpRoute": {"enabled": True}}}, "httpRoute.parentRefs"),
    ({"tests": {"runtime": "python2"}}, "tests.runtime"),
    ({"functions": {"roles": {"enabled": True, "audience": ""}}}, "/functions/roles/audience"),
    # The API server takes these for its own, where nobody has told it others.
    ({"functions": {"roles": {"enabled": True, "audience": "https://kubernetes.default.svc"}}}, "API server"),
    (
        {"functions": {"roles": {"enabled": True, "audience": "https://kubernetes.default.svc.cluster.local"}}},
        "functions.roles.audience",
    ),
    # User code would get the invokers' role, by a token of the same account for the same audience.
    (EXTERNAL | {"functions": {"roleArn": INVOKERS, "roles": FOR_STS}}, "functions.roles.audience"),
    (
        {"functions": {"serviceAccountAnnotations": {"eks.amazonaws.com/role-arn": INVOKERS}, "roles": FOR_STS}},
        "functions.roles.audience",
    ),
    (
        {
            "functions": {
                "serviceAccountAnnotations": {
                    "eks.amazonaws.com/role-arn": INVOKERS,
                    "eks.amazonaws.com/audience": "lateen-functions",
                },
                "roles": {"enabled": True, "audience": "lateen-functions"},
            }
        },
        "functions.roles.audience",
    ),
    (
        EXTERNAL
        | {"functions": {"roleArn": "arn:aws:iam::111122223333:role/a", "credentials": {"existingSecret": "a"}}},
        "functions.credentials",
    ),
]


@pytest.mark.parametrize(("values", "named"), REFUSED, ids=lambda each: each if isinstance(each, str) else None)
def test_bad_value_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    """Nothing is installed, and the message says which value."""
    with pytest.raises(HelmRefused) as refusal:
        rendered(values=values)
    # Helm 3 names values with dots.
    assert named in str(refusal.value) or named.strip("/").replace("/", ".") in str(refusal.value)


@pytest.mark.parametrize(
    "functions",
    [
        {"roles": FOR_STS},
        {"roleArn": INVOKERS, "roles": {"enabled": True, "audience": "lateen-functions"}},
        {
            "serviceAccountAnnotations": {
                "eks.amazonaws.com/role-arn": INVOKERS,
                "eks.amazonaws.com/audience": "lateen-invokers",
            },
            "roles": FOR_STS,
        },
    ],
)
def test_an_audience_of_their_own_is_enough(functions: dict[str, Any]) -> None:
    """What the invokers' own token is not for may be any."""
    rendered(values=EXTERNAL | {"functions": functions})


@pytest.mark.parametrize("name", PROFILES)
def test_lint_has_nothing_to_say(name: str) -> None:
    """`helm lint --strict`, with each profile that we ship or test."""
    files = [word for file in PROFILES[name] for word in ("--values", str(file))]
    said = helm("lint", "--strict", str(CHART), *files)
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_global_is_open_to_other_charts() -> None:
    """A chart around this one hands its `global` to all of its parts, whatever else is in there."""
    rendered(values={"global": {"storageClass": "fast"}})
