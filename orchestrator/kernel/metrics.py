"""All metrics in one place, named `orchestrator_*`, one set for each daemon."""

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLOW = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 86_400)


class Metrics:
    """The daemon's metrics. Labels are bounded: plugin names, codes, verdicts, never ids or text."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "orchestrator_http_requests",
            "HTTP requests answered.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self.queries = Counter(
            "orchestrator_queries", "Queries by outcome.", ["plugin", "status"], registry=self.registry
        )
        self.query_seconds = Histogram(
            "orchestrator_query_seconds", "Time to answer a query.", ["plugin"], buckets=_FAST, registry=self.registry
        )
        self.executions = Counter(
            "orchestrator_executions", "Executions by verdict.", ["status", "isolation"], registry=self.registry
        )
        self.execution_seconds = Histogram(
            "orchestrator_execution_seconds", "Wall time of executions.", buckets=_FAST, registry=self.registry
        )
        self.sandbox_starts = Histogram(
            "orchestrator_sandbox_start_seconds",
            "Time to create and start one container.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.sandbox_queue = Gauge(
            "orchestrator_sandbox_queued", "Executions waiting for a slot.", registry=self.registry
        )
        self.sandbox_slots = Gauge(
            "orchestrator_sandbox_slots", "Executions that may run at the same time.", registry=self.registry
        )
        self.sandbox_running = Gauge("orchestrator_sandbox_running", "Executions running.", registry=self.registry)
        self.sandbox_engine = Info(
            "orchestrator_sandbox_engine", "What executions run on, as results say it.", registry=self.registry
        )
        self.sandbox_ready = Gauge("orchestrator_sandbox_ready", "1 if executions are served.", registry=self.registry)
        self.sandbox_workers = Counter(
            "orchestrator_sandbox_workers",
            "Workers handed out: armed before, a cell of the same domain, or cold.",
            ["source"],
            registry=self.registry,
        )
        self.sandbox_armed = Gauge("orchestrator_sandbox_armed", "Fresh workers kept ready.", registry=self.registry)
        self.sandbox_armed_wanted = Gauge(
            "orchestrator_sandbox_armed_wanted", "Fresh workers wanted by recent demand.", registry=self.registry
        )
        self.sandbox_cells = Gauge("orchestrator_sandbox_cells", "Cells at rest.", registry=self.registry)
        self.sandbox_armed_age = Histogram(
            "orchestrator_sandbox_armed_age_seconds",
            "How long a worker had been armed when it was used.",
            buckets=_SLOW,
            registry=self.registry,
        )
        self.sandbox_refills = Histogram(
            "orchestrator_sandbox_refill_seconds",
            "From the decision that one more shall be armed until it is.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.sandbox_kills = Histogram(
            "orchestrator_sandbox_kill_seconds",
            "From a job's wall deadline to the proof that all of it is dead.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.reaped = Counter(
            "orchestrator_sandbox_reaped", "Containers of a dead daemon that were removed.", registry=self.registry
        )
        self.plugins = Gauge("orchestrator_plugins", "Plugins by state.", ["state"], registry=self.registry)
        self.plugin_reloads = Counter(
            "orchestrator_plugin_reloads", "Plugin versions loaded.", ["outcome"], registry=self.registry
        )
        self.plugin_blocked = Counter(
            "orchestrator_plugin_blocked_loop",
            "Times that a plugin held the event loop.",
            ["plugin"],
            registry=self.registry,
        )
        self.events_missed = Counter(
            "orchestrator_events_missed",
            "Events a full subscriber queue dropped.",
            ["subscriber"],
            registry=self.registry,
        )
        self.commits = Histogram(
            "orchestrator_store_commit_seconds", "Time of one group commit.", buckets=_FAST, registry=self.registry
        )
        self.refused = Counter("orchestrator_refused", "Requests refused, by code.", ["code"], registry=self.registry)

        self._children: dict[tuple[str, ...], tuple[Counter, Histogram | None]] = {}

    def request_done(self, method: str, route: str, status: int) -> None:
        """Count one HTTP answer."""
        key = ("request", method, route, str(status))
        if (child := self._children.get(key)) is None:
            child = self._children[key] = (self.requests.labels(*key[1:]), None)
        child[0].inc()

    def query_done(self, plugin: str, status: str, seconds: float) -> None:
        """Count one query and its time."""
        key = ("query", plugin, status)
        if (child := self._children.get(key)) is None:
            child = self._children[key] = (self.queries.labels(plugin, status), self.query_seconds.labels(plugin))
        child[0].inc()
        if child[1] is not None:
            child[1].observe(seconds)

    def worker_taken(self, source: Literal["armed", "cell", "cold"]) -> None:
        """Count one worker that was handed out."""
        self.sandbox_workers.labels(source).inc()

    def render(self) -> bytes:
        """The Prometheus text form, UTF-8."""
        return generate_latest(self.registry)
