"""Metrics read back from their text form, for whoever shows them to a person."""

from prometheus_client.parser import text_string_to_metric_families


class Readings:
    """What one `Metrics.render` said."""

    def __init__(self, text: str) -> None:
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._values[sample.name, frozenset(sample.labels.items())] = sample.value

    def value(self, name: str, **labels: str) -> float | None:
        """One number; None where nothing of it was counted yet."""
        return self._values.get((name, frozenset(labels.items())))

    def quantile(self, name: str, share: float) -> float | None:
        """Below which value `share` (0 to 1) of what a histogram saw lies, even between two bounds; None if empty."""
        bounds = sorted(
            (float(dict(labels)["le"]), n) for (found, labels), n in self._values.items() if found == f"{name}_bucket"
        )
        wanted = share * bounds[-1][1] if bounds else 0.0
        if not wanted:
            return None
        low = below = 0.0
        for bound, number in bounds:
            if number >= wanted:
                return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (number - below)
            low, below = bound, number
        return low
