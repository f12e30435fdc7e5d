"""What the API server lets the controller do: exactly the calls that it makes, as RBAC rules. The chart's roles say the
same, and the tests on a cluster run with these and no others.

No Secret is ever read: `create` and `patch` make those that are known by what the table says. That is what the
controller does, and not all that its token could do for somebody else: the answer to a `patch` is the whole object. No
`exec`, no `get` of what is watched, nothing on nodes, and no binding of roles.
"""

from typing import Any

from lateen.adapters.kubernetes.config import FunctionsConfig

Rule = dict[str, Any]

_MADE = ["list", "watch", "create", "patch", "delete"]
_KEPT = ["list", "watch", "create", "patch"]
"""Of what goes with its namespace, or stays."""


def function_rules() -> list[Rule]:
    """Where functions run: in the one namespace that all share, or everywhere."""
    return [
        _rule("apps", ["deployments"], _MADE),
        _rule("", ["services"], _MADE),
        _rule("networking.k8s.io", ["ingresses"], _MADE),
        _rule("gateway.networking.k8s.io", ["httproutes"], _MADE),
        _rule("policy", ["poddisruptionbudgets"], _MADE),
        _rule("networking.k8s.io", ["networkpolicies"], _KEPT),
        # Also where functions have no roles: what is left of the time when they had has to go.
        _rule("", ["serviceaccounts"], _MADE),
        _rule("", ["secrets"], ["create", "patch", "delete"]),
        _rule("", ["pods"], ["list", "watch"]),
        # Builds, and what they print; where images' tags lead.
        _rule("batch", ["jobs"], ["get", "create", "delete"]),
        _rule("", ["pods/log"], ["get"]),
    ]


def namespace_rules() -> list[Rule]:
    """Everywhere, where each workspace has a namespace."""
    return [
        # `get`: whose a namespace is that is there already and isn't ours to watch.
        _rule("", ["namespaces"], ["get", *_MADE]),
        _rule("", ["resourcequotas", "limitranges"], _KEPT),
    ]


def leader_rules(config: FunctionsConfig) -> list[Rule]:
    """In the platform's own namespace."""
    return [
        _rule("coordination.k8s.io", ["leases"], ["create"]),
        {
            **_rule("coordination.k8s.io", ["leases"], ["get", "watch", "update"]),
            "resourceNames": [lease_name(config)],
        },
    ]


def lease_name(config: FunctionsConfig) -> str:
    return f"{config.release}-controller"


def _rule(group: str, resources: list[str], verbs: list[str]) -> Rule:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}
