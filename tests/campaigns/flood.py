"""A gigabyte of output: the host's disk and the daemon's memory hardly notice (ABUSE "Output").

A job is ended for flooding a few MiB past its limit, so a gigabyte takes one job that would write it all, and then as
many as it takes until so much was really written.
"""

import tempfile
from pathlib import Path

from orchestrator.sandbox import engines
from tests.campaigns import rig
from tests.campaigns.report import Report

MIB = 2**20
DISK_BYTES = 2 * 10**6
MEMORY_BYTES = 10 * 10**6
LIMIT_BYTES = MIB
"""What is kept of an output unless a request says otherwise."""
ENDED_AFTER_BYTES = LIMIT_BYTES + 8 * MIB
"""How much a job has written when it is ended for it."""
ONE_LINE = "import os\nfor _ in range({mib}): os.write({fd}, b'x' * 2**20)"


async def campaign(total_bytes: int = 2**30, memory_bytes: int = MEMORY_BYTES) -> Report:
    """Write `total_bytes` in one line, then again until they were read, by one job after another.

    What is kept of the outputs may stay on the disk, and in the store's caches, so of the many only a growth that goes
    on counts.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-flood-") as name:
        folder = Path(name)
        places = (folder, _engine_root() / "containers")  # where an engine keeps what a container writes
        async with rig.daemon(folder, sandbox__cell_idle_s=1) as target:
            for _ in range(8):
                await rig.execute(target.admin, {"code": "print('x' * 1000)"})
            await target.quiet()
            disk, memory = rig.disk_bytes(*places), target.resident_bytes()
            target.forget_peak()
            wrong = [await _flood(target, total_bytes, 1)]
            peak = target.peak_bytes() - memory
            await target.quiet()
            more = rig.disk_bytes(*places) - disk
            rounds = max(2, total_bytes // ENDED_AFTER_BYTES)
            wrong += [await _flood(target, total_bytes, 1 + n % 2) for n in range(rounds // 2)]
            half = target.resident_bytes()
            wrong += [await _flood(target, total_bytes, 1 + n % 2) for n in range(rounds - rounds // 2)]
            growth = target.resident_bytes() - half
    report = Report(f"{total_bytes / 1e6:,.0f} MB of output as one line, then {rounds} times until they were read")
    report.nothing("wrong verdicts", [fault for fault in wrong if fault])
    report.at_most("disk, one flood", more / 1e6, DISK_BYTES / 1e6, "MB more")
    report.at_most("the daemon's memory, one flood, at its peak", peak / 1e6, memory_bytes / 1e6, "MB more")
    report.at_most("its memory, the second half of the many", growth / 1e6, memory_bytes / 1e6, "MB more")
    return report


async def _flood(target: rig.Target, wanted_bytes: int, fd: int) -> str:
    """One job that would write so much; what is wrong with its end."""
    name = "stdout" if fd == 1 else "stderr"
    code = ONE_LINE.format(mib=wanted_bytes // MIB, fd=fd)
    answer = (await rig.execute(target.admin, {"code": code})).json
    seen = (answer["status"], answer["limits_hit"], len(answer[name]), answer[f"{name}_truncated"])
    if seen != ("output_limit", [f"{name}_bytes"], LIMIT_BYTES, True):
        return f"{name}: {seen} {answer['reason']}"
    return ""


def _engine_root() -> Path:
    client = engines.connect(engines.find(None), 10)
    try:
        return Path(client.info()["DockerRootDir"])
    finally:
        client.close()
