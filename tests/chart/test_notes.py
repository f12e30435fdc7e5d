"""What `helm install` says at its end."""

from typing import Any

import pytest
import yaml
from chart import CHART, NAMESPACE, helm


def notes(values: dict[str, Any] | None = None) -> str:
    given = yaml.safe_dump(values or {})
    said = helm(
        "install", "lateen", str(CHART), "--namespace", NAMESPACE, "--dry-run=client", "--values", "-", given=given
    )
    return said.split("NOTES:")[1]


def test_notes_name_the_next_command() -> None:
    """How to see that it is up, the key, the way to the API, the first function."""
    said = notes()
    for words in (
        "rollout status",
        "wait --for=condition=complete",
        "export LATEEN_TOKEN=",
        "port-forward service/lateen-api 8000:8000",
        "lateen deploy",
    ):
        assert words in said
    assert '{{ index .data "admin-token" | base64decode }}' in said


def test_notes_know_the_ingress() -> None:
    said = notes(
        {"ingress": {"enabled": True, "hosts": ["lateen.example.com"], "tls": [{"hosts": ["lateen.example.com"]}]}}
    )
    assert "export LATEEN_ENDPOINT=https://lateen.example.com" in said
    assert "Functions' URLs begin with https://lateen.example.com" in said


OWN = {
    "localStores": {"enabled": False},
    "stores": {"s3": {"bucket": "code"}},
    "queue": {"redis": {"existingSecret": "redis"}},
}


@pytest.mark.parametrize(
    ("values", "warned"),
    [
        ({}, "localStores.enabled"),
        ({"functions": {"network": {"policies": False}}}, "functions.network.policies"),
        ({"networkPolicy": {"enabled": False}}, "networkPolicy.enabled"),
        ({"ingress": {"enabled": True, "hosts": ["a.example.com"]}}, "ingress.tls"),
        ({"corsOrigins": ["*"]}, "corsOrigins"),
        ({"hosts": ["*"]}, "hosts has *"),
        ({"controller": {"securityContext": {"readOnlyRootFilesystem": False}}}, "security context"),
        (
            {
                "localStores": {"enabled": False},
                "stores": {"s3": {"bucket": "code"}, "credentials": {"existingSecret": "a"}},
                "functions": {"credentials": {"existingSecret": "a"}},
                "queue": {"redis": {"existingSecret": "a"}},
            },
            "functions.credentials",
        ),
        (
            {
                "localStores": {"enabled": False},
                "stores": {"s3": {"bucket": "code", "endpoint": "https://s3.internal"}},
                "queue": {"redis": {"existingSecret": "a"}},
            },
            "functions.network.egress.extra",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_unsafe_settings_are_warned_of(values: dict[str, Any], warned: str) -> None:
    assert "WARNING: " in notes(values)
    assert warned in notes(values)


def test_safe_settings_are_not_warned_of() -> None:
    assert "WARNING" not in notes(OWN)
