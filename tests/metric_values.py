"""Reads the values of our metrics, and which of them a block of code has changed."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY

import qader.observability.metrics  # noqa: F401 - registers what only the server would import

# How long something took, and the state of what is there: another value each time.
UNSTEADY = ("_sum", "_bucket", "_info", "_pool_connections", "_pool_max", "_pool_waiting")


def metric_values() -> dict[str, float]:
    """Return our figures as they stand, by name and labels, as Prometheus writes them."""
    return {
        sample.name + _shown(sample.labels): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name.startswith("qader_") and not sample.name.endswith(UNSTEADY)
    }


def _shown(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}" if labels else ""


@contextmanager
def metric_changes() -> Iterator[dict[str, float]]:
    """`with metric_changes() as metric_values`: afterwards it holds by how much each figure moved that did."""
    before, changed = metric_values(), dict[str, float]()
    yield changed
    after = metric_values()
    changed |= {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
