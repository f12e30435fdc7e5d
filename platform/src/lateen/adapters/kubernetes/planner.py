"""What has to be done so that the cluster is as it should be. Pure: compares what is wanted with what was seen."""

from collections.abc import Iterator, Sequence
from typing import Any

from lateen.adapters.kubernetes.kinds import Manifest, annotated
from lateen.adapters.kubernetes.quantities import amount_of

_WHOLE = frozenset({"selector", "podSelector", "matchLabels"})
"""What these have beside what is desired changes what they select, and no one but us has a say in that."""


def difference(desired: Any, actual: Any, path: str = "") -> str | None:
    """Where the first thing lies that is not as desired; None: all is. What else the actual object has is defaults,
    status, or other people's."""
    if isinstance(desired, dict):
        if not isinstance(actual, dict):
            return path if _means_something(desired) else None
        if path.rpartition(".")[2] in _WHOLE and any(
            _means_something(value) for name, value in actual.items() if name not in desired
        ):
            return path
        differences: Iterator[str | None] = (
            difference(value, actual.get(name), f"{path}.{name}") for name, value in desired.items()
        )
    elif isinstance(desired, list):
        have = actual or []
        if not isinstance(have, list) or len(have) != len(desired):
            return path
        differences = (difference(each, have[i], f"{path}[{i}]") for i, each in enumerate(desired))
    else:
        return None if _is_same(desired, actual) else path
    return next((found for found in differences if found is not None), None)


def adopted(deployment: Manifest, live: Manifest | None, annotation: str) -> Manifest:
    """The desired Deployment with the names in `annotation` that the live one has beside the desired one's: what was
    made for it and isn't removed yet is never forgotten."""
    if live is None:
        return deployment
    current = deployment["metadata"]["annotations"][annotation]
    known = names_in(live, annotation)
    if not (older := [name for name in known if name != current]):
        return deployment
    return annotated(deployment, annotation, ",".join([current, *older]))


def names_in(live: Manifest, annotation: str) -> Sequence[str]:
    text = (live["metadata"].get("annotations") or {}).get(annotation, "")
    return [name for name in text.split(",") if name]


def unneeded(live: Manifest, pods: Sequence[Manifest], annotation: str, current: str) -> list[str]:
    """Names of configuration Secrets that neither the Deployment nor one of its pods, stopping ones included, needs."""
    needed = {current, *(secret for pod in pods for secret in secrets_of(pod["spec"]))}
    return [name for name in names_in(live, annotation) if name not in needed]


def secrets_of(pod_spec: Manifest) -> list[str]:
    return [volume["secret"]["secretName"] for volume in pod_spec.get("volumes") or () if "secret" in volume]


def _is_same(desired: Any, actual: Any) -> bool:
    if desired == actual or (actual is None and not _means_something(desired)):
        return True
    if isinstance(desired, str) and isinstance(actual, str):
        # The API server writes amounts in its own way: 1024Mi is 1Gi.
        amount = amount_of(desired)
        return amount is not None and amount == amount_of(actual)
    return False


def _means_something(value: Any) -> bool:
    """False for what the API server leaves out of what it stores."""
    return not (value is None or value is False or value == "" or (isinstance(value, list | dict) and not value))
