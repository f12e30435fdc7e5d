"""What an invoker tells Prometheus, read by Prometheus' own parser."""

from prometheus_client.parser import text_string_to_metric_families

from lateen_invoker.metrics import BUCKETS_S, Metrics


class Gauges:
    environments, running, waiting = 3, 2, 1


def test_every_number_arrives() -> None:
    """Names, types, help and values; histograms are cumulated."""
    metrics = Metrics()
    metrics.watch(Gauges())
    for seconds in (0.0005, 0.001, 0.3, 1000.0):
        metrics.duration.observe(seconds)
    metrics.observe_cold_start(20.0)
    metrics.errors = {"Sandbox.Timedout": 2, "Function": 1}
    metrics.cold_starts = {"first": 1}
    metrics.throttles, metrics.init_errors, metrics.records_dropped = 4, 5, 6
    metrics.answers_cut, metrics.request_bytes, metrics.unread_bytes = 7, 8, 9
    families = {family.name: family for family in text_string_to_metric_families(metrics.text().decode())}
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values() for sample in family.samples
    }  # fmt: skip
    assert all(family.documentation for family in families.values())
    assert {name: family.type for name, family in families.items()} == {
        "lateen_invocation_seconds": "histogram", "lateen_init_seconds": "histogram", "lateen_invocations": "counter",
        "lateen_invocation_errors": "counter", "lateen_cold_starts": "counter", "lateen_throttles": "counter",
        "lateen_init_errors": "counter", "lateen_records_dropped": "counter", "lateen_environments": "gauge",
        "lateen_invocations_running": "gauge", "lateen_invocations_waiting": "gauge",
        "lateen_answers_cut": "counter", "lateen_request_bytes": "gauge", "lateen_unread_bytes": "gauge",
    }  # fmt: skip
    assert values[("lateen_invocation_seconds_bucket", "0.001")] == 2
    assert values[("lateen_invocation_seconds_bucket", "0.5")] == 3
    assert values[("lateen_invocation_seconds_bucket", str(BUCKETS_S[-1]))] == 3
    assert values[("lateen_invocation_seconds_bucket", "+Inf")] == 4
    assert values[("lateen_invocation_seconds_count",)] == 4
    assert values[("lateen_invocation_seconds_sum",)] == 1000.3015
    assert values[("lateen_init_seconds_sum",)] == 0.02
    assert values[("lateen_invocations_total",)] == 4
    assert values[("lateen_invocation_errors_total", "Sandbox.Timedout")] == 2
    assert values[("lateen_invocation_errors_total", "Function")] == 1
    assert values[("lateen_cold_starts_total", "first")] == 1
    assert values[("lateen_throttles_total",)] == 4
    assert values[("lateen_init_errors_total",)] == 5
    assert values[("lateen_records_dropped_total",)] == 6
    assert values[("lateen_answers_cut_total",)] == 7
    assert (values[("lateen_request_bytes",)], values[("lateen_unread_bytes",)]) == (8, 9)
    assert values[("lateen_environments",)] == 3
    assert values[("lateen_invocations_running",)] == 2
    assert values[("lateen_invocations_waiting",)] == 1


def test_nothing_yet_is_told_too() -> None:
    """An invoker that has just begun has all families."""
    assert len(list(text_string_to_metric_families(Metrics().text().decode()))) == 14
