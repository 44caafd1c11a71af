"""Metrics are read back as they were counted."""

import pytest

from orchestrator.kernel.metrics import Metrics
from orchestrator.kernel.readings import Readings


def readings(metrics: Metrics) -> Readings:
    return Readings(metrics.render().decode())


def test_counts_come_back_by_name_and_labels():
    metrics = Metrics()
    metrics.worker_taken("cell")
    metrics.worker_taken("cell")
    metrics.sandbox_running.set(3)
    read = readings(metrics)
    assert read.value("orchestrator_sandbox_workers_total", source="cell") == 2
    assert read.value("orchestrator_sandbox_workers_total", source="cold") is None
    assert read.value("orchestrator_sandbox_running") == 3


@pytest.mark.parametrize(
    ("seen", "share", "least", "most"),
    [([], 0.5, None, None), ([0.02] * 10, 0.5, 0.01, 0.025), ([0.02] * 99 + [4], 0.995, 2.5, 5), ([1e6], 0.5, 60, 60)],
)
def test_a_quantile_lies_between_the_bounds_around_it(seen, share, least, most):
    metrics = Metrics()
    for value in seen:
        metrics.sandbox_kills.observe(value)
    found = readings(metrics).quantile("orchestrator_sandbox_kill_seconds", share)
    assert found is None if least is None else least <= found <= most
