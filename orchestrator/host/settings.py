"""What an operator may set about plugins."""

from pydantic import Field

from orchestrator.contracts.model import Model


class HostSettings(Model):
    """Deadlines, bounds and patience of the plugin host. `_s` are seconds, `_ms` milliseconds."""

    timeout_s: float = Field(30.0, gt=0, le=3600, description="Time for one answer, where a plugin states none.")
    import_timeout_s: float = Field(10.0, gt=0, le=600, description="Time for importing one plugin version.")
    init_timeout_s: float = Field(10.0, gt=0, le=600, description="Time for a plugin's init, and for its close.")
    start_wait_s: float = Field(2.0, ge=0, le=600, description="How long the start waits for slow imports.")
    route_hook_ms: int = Field(200, gt=0, le=10_000, description="Time for one routing hook.")
    max_response_bytes: int = Field(8 * 2**20, ge=1024, le=2**30, description="Most that one answer may be, as JSON.")
    threads: int = Field(16, ge=1, le=256, description="Threads of one plugin whose functions are not async.")
    breaker_failures: int = Field(20, ge=1, le=10_000, description="Consecutive failures that open the breaker.")
    breaker_cooldown_s: float = Field(5.0, gt=0, le=3600, description="Time that an open breaker refuses calls.")
    block_warn_ms: int = Field(100, ge=10, le=60_000, description="Holding the event loop so long is logged.")
    block_interrupt_ms: int = Field(1000, ge=20, le=600_000, description="Holding the event loop so long is ended.")
    debounce_ms: int = Field(25, ge=1, le=10_000, description="Quiet time after a change before files are read.")
    rescan_s: float = Field(2.0, gt=0, le=3600, description="Files are looked at so often though nothing was told.")
    delete_grace_ms: int = Field(250, ge=0, le=60_000, description="A file must be gone so long to count as deleted.")
    linger_ms: int = Field(1000, ge=0, le=60_000, description="A replaced version takes requests routed to it so long.")
    max_file_bytes: int = Field(4 * 2**20, ge=1024, le=2**30, description="Most that one file of a plugin may be.")
    max_package_bytes: int = Field(64 * 2**20, ge=1024, le=2**32, description="Most that a plugin's files may be.")
    max_package_files: int = Field(2000, ge=1, le=100_000, description="Most files that a plugin may have.")
    process_children: int = Field(4, ge=1, le=64, description="Child processes of one plugin of isolation process.")
    process_memory_bytes: int = Field(2**30, ge=2**27, le=2**44, description="Address space of one child process.")
    process_idle_s: float = Field(30.0, gt=0, le=3600, description="An idle child beyond the first ends after this.")
    process_log_bytes: int = Field(
        64 * 2**10, ge=0, le=2**26, description="What a child may print to the log a minute."
    )
