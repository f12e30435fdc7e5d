"""Walls around function pods: nothing in but calls, scrapes; nothing out but names, the stores and, where it is
allowed, the internet. Never the control plane, another function, a node's metadata or a private network."""

from ipaddress import IPv6Network
from typing import Any

from lateen.adapters.kubernetes.config import HTTP_PORT, OPERATIONS_PORT, FunctionsConfig
from lateen.adapters.kubernetes.kinds import NETWORK_POLICY, Manifest
from lateen.adapters.kubernetes.labels import common_labels, pods_of_builds, pods_of_functions

PRIVATE_V4 = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers', and clusters'
    "127.0.0.0/8",
    "168.63.129.16/32",  # a public address, and Azure's to its nodes only: their settings, secrets among them
    "169.254.0.0/16",  # link-local: metadata, node-local DNS
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
PUBLIC_V6 = "2000::/3"
"""All that is the internet in IPv6; loopback, link-local, unique local (EC2's metadata too), multicast and what stands
for IPv4 behind a translator lie outside."""
_PUBLIC_V6 = IPv6Network(PUBLIC_V6)
PRIVATE_V6 = (
    "2001::/32",  # IPv4 in tunnels
    "2002::/16",
)


_NOTHING: Manifest = {"ingress": [], "egress": []}
"""Said and not left out, so that what somebody adds there is taken away again."""


def network_policies_for(config: FunctionsConfig, namespace: str, labels: dict[str, str]) -> list[Manifest]:
    if not config.network.policies:
        return []
    functions = {"matchLabels": pods_of_functions(config)}
    # In a shared namespace others' pods are none of our business.
    everything: Manifest = {} if config.functions_namespace is None else {"matchLabels": common_labels(config)}
    allowed = {"ingress": _ingress(config), "egress": _egress(config)}
    return [
        _policy("lateen-deny", namespace, labels, {"podSelector": everything, **_NOTHING}),
        _policy("lateen-functions", namespace, labels, {"podSelector": functions, **allowed}),
        _policy(
            "lateen-builds",
            namespace,
            labels,
            {
                "podSelector": {"matchLabels": pods_of_builds(config)},
                "ingress": [],
                "egress": [*_egress(config), *config.builds.egress],
            },
        ),
    ]


def _ingress(config: FunctionsConfig) -> list[Manifest]:
    network = config.network
    callers = [network.platform_selector]
    if (config.ingress.enabled or config.http_route.enabled) and config.ingress.controller_selector is not None:
        callers.append(config.ingress.controller_selector)
    rules: list[Manifest] = [{"from": callers, "ports": _ports("TCP", HTTP_PORT)}]
    if network.monitoring_selector is not None:
        rules.append({"from": [network.monitoring_selector], "ports": _ports("TCP", OPERATIONS_PORT)})
    return rules


def _egress(config: FunctionsConfig) -> list[Manifest]:
    egress = config.network.egress
    names = [*_ports("UDP", *egress.dns_ports), *_ports("TCP", *egress.dns_ports)]
    rules: list[Manifest] = [{"to": [egress.dns], "ports": names}, *egress.extra]
    if egress.internet:
        v4 = [*PRIVATE_V4, *(block for block in egress.blocked if ":" not in block)]
        to: list[Manifest] = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": v4}}]
        if egress.ipv6:
            # The API server takes no exception from what is not open anyway.
            blocked = (block for block in egress.blocked if ":" in block and IPv6Network(block).subnet_of(_PUBLIC_V6))
            v6 = [*PRIVATE_V6, *blocked]
            to.append({"ipBlock": {"cidr": PUBLIC_V6, "except": v6}})
        rules.append({"to": to})
    return rules


def _ports(protocol: str, *ports: int) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": protocol} for port in ports]


def _policy(name: str, namespace: str, labels: dict[str, str], spec: Manifest) -> Manifest:
    return {
        "apiVersion": NETWORK_POLICY.version,
        "kind": NETWORK_POLICY.name,
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {**spec, "policyTypes": ["Ingress", "Egress"]},
    }
