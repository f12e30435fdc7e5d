"""Amounts of CPU and memory as Kubernetes writes them."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]*)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z")
_FACTORS: dict[str | None, Decimal] = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTP", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTP", 1)},
}


def amount_of(text: str) -> Decimal | None:
    """None: it isn't one."""
    found = _QUANTITY.match(text)
    return None if found is None else Decimal(found[1]) * _FACTORS[found[2]]


def cpu(cores: float) -> str:
    """At least one thousandth."""
    return f"{max(1, round(cores * 1000))}m"


def mib(count: float) -> str:
    return f"{max(1, round(count))}Mi"
