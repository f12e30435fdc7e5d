"""Alerts: Prometheus takes them, and each asks for something that is measured."""

import re
import subprocess
from pathlib import Path

import yaml
from chart import ROOT, of_kind, profile, program


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """As Prometheus' own checker reads them."""
    (rule,) = of_kind(profile("everything"), "PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    done = subprocess.run([program("promtool"), "check", "rules", file], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "10 rules found" in done.stdout


def test_rules_ask_for_what_is_measured() -> None:
    """An alert on a metric that nobody has never fires."""
    (rule,) = of_kind(profile("everything"), "PrometheusRule")
    asked = set(re.findall(r"lateen_[a-z_]+", yaml.safe_dump(rule)))
    sources = [*(ROOT / "platform/src").rglob("*.py"), *(ROOT / "invoker/src").rglob("*.py")]
    text = "\n".join(file.read_text() for file in sources)
    assert len(asked) == 9
    for name in asked:
        # The client library adds the suffix of a counter.
        assert f'"{name}"' in text or f'"{name.removesuffix("_total")}"' in text, name
