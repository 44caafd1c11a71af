"""Workers behind bubblewrap: what a result says, what a worker is made of, and what is left of it: nothing (CONTRACT 4)."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.contracts.errors import Unavailable
from orchestrator.kernel.ids import new_id
from orchestrator.sandbox import images
from orchestrator.sandbox.backends import cgroups, walls
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.testing.daemons import running
from tests.attack.rig import IDS, IMAGES, Told, groups, opened, processes

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="control groups are root's to make; tests/contract has bubblewrap without them"
)
ROOT = Path(__file__).parents[2]
SETTINGS = SandboxSettings(engine="bubblewrap", armed=0, uid_first=IDS + 1_200)
MIB = 2**20


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images.build(SETTINGS, IMAGES, "default", lambda _: None)
    return tmp_path_factory.mktemp("state")


@pytest.fixture
async def box(state):
    async with opened(state, SETTINGS) as box:
        assert box.sandbox.health()[0] == "ok", box.sandbox.health()
        yield box


async def test_a_result_says_that_it_is_for_development(box):
    """CONTRACT 4: `sandbox.dev: true` in every result; no limit is lacking, and there is no network."""
    outcome = await box.run("print(6 * 7)")
    assert (outcome.status, outcome.stdout) == ("ok", "42\n"), outcome
    where = outcome.sandbox
    assert (where.engine, where.runtime, where.dev, where.network) == ("bubblewrap", "bwrap", True, "none")
    assert where.limits_unenforced == []
    assert where.image.startswith("orchestrator-sandbox/default@sha256:")
    assert b'orchestrator_sandbox_engine_info{engine="bubblewrap",runtime="bwrap"} 1.0' in box.metrics.render()
    assert images.engine(SETTINGS).startswith("bubblewrap 0.")
    assert box.sandbox.health() == ("ok", "bubblewrap with bwrap, for development only, 0 armed")


async def test_a_daemon_in_development_mode_serves_with_it_and_says_so_everywhere(state, tmp_path):
    """CONTRACT 4: development mode, loopback; the readiness check, the status page and every result name the engine."""
    settings = {"dev": True, "sandbox__engine": "bubblewrap", "sandbox__uid_first": SETTINGS.uid_first}
    async with running(tmp_path, bundled=False, **settings) as daemon:
        outcome = await daemon.admin.post("/v1/sandbox/executions", json={"code": "print(1)"})
        assert (outcome.status, outcome.json["stdout"]) == (200, "1\n")
        assert (outcome.json["sandbox"]["engine"], outcome.json["sandbox"]["dev"]) == ("bubblewrap", True)
        checks = (await daemon.keyless.get("/readyz")).json["checks"]
        assert checks["engine"]["detail"].startswith("bubblewrap with bwrap, for development only, ")
        assert b"bubblewrap with bwrap" in (await daemon.keyless.get("/")).body


async def test_nothing_of_the_machine_is_in_a_worker(box):
    """R2-17: own namespaces, no capability even to be had, minimal devices, no interface but loopback."""
    code = """
import json, os
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(json.dumps({
    'namespaces': {kind: os.readlink(f'/proc/self/ns/{kind}') for kind in os.listdir('/proc/self/ns')},
    'bounding': int(status['CapBnd'], 16), 'pid': os.getpid(), 'host': os.uname().nodename,
    'interfaces': [line.split(':')[0].strip() for line in open('/proc/net/dev') if ':' in line],
    'sys': sorted(os.listdir('/sys')), 'groups': open('/proc/self/cgroup').read(),
    'options': {line.split()[1]: line.split()[3] for line in open('/proc/mounts')},
    'bound': [line.split()[1] for line in open('/proc/mounts') if line.split()[2] not in ('tmpfs', 'proc', 'devpts', 'cgroup', 'cgroup2')],
    'files': [path for path in ('/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', '/dev/tty') if not os.path.isdir(path)],
    'empty': [line.split()[1] for line in open('/proc/mounts') if line.split()[3].startswith('ro,nosuid,nodev') and line.split()[2] == 'devtmpfs'],
}))
"""
    seen = json.loads((await box.run(code)).stdout)
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "mnt", "net", "pid", "uts", "cgroup")}
    assert {kind for kind, name in own.items() if seen["namespaces"][kind] == name} == set()
    assert seen["bounding"] == sum(1 << number for number in (5, 6, 7))  # KILL, SETGID, SETUID: the runner's
    assert (seen["pid"] < 10, seen["host"], seen["interfaces"]) == (True, "sandbox", ["lo"])
    assert seen["sys"] == ["class", "fs"]
    assert HOST_NAMES.isdisjoint(seen["groups"].replace("/", ".").split("."))
    assert {*seen["bound"]} == {"/", *seen["files"], *seen["empty"]}  # no folder of the host but its own root
    assert all(place in walls.MASKED for place in seen["empty"])
    options = {place: set(words.split(",")) for place, words in seen["options"].items()}
    assert all("ro" in options[place] for place in ("/", "/dev", "/sys", "/proc/sys"))
    assert all({"nosuid", "nodev"} <= options[place] for place in ("/", "/box", "/program", "/dev/shm"))
    assert all("noexec" in options[place] for place in ("/program", "/dev/shm"))


HOST_NAMES = {"orchestrator"}
"""What a path of the host's own control groups would show."""


@pytest.mark.parametrize(
    ("code", "limits", "status", "hit"),
    [
        ("x = b'x' * 2**27", {"memory_bytes": 32 * MIB}, "oom", ["memory_bytes"]),
        ("f = open('/tmp/x', 'wb', 0)\nwhile f.write(b'x' * 4096): pass", {"disk_bytes": 16 * MIB}, "error", ["disk_bytes"]),
        ("for n in range(200): open(str(n), 'w')", {"inodes": 64}, "error", ["inodes"]),
        ("import os\nwhile True:\n try: os.fork()\n except OSError: pass", {"pids": 20, "wall_ms": 700}, "timeout", ["wall_ms", "pids"]),
        ("while True: pass", {"cpu_ms": 100}, "timeout", ["cpu_ms"]),
    ],
    ids=["memory", "disk", "inodes", "pids", "cpu"],
)  # fmt: skip
async def test_every_limit_is_the_kernels(box, code, limits, status, hit):
    """CONTRACT 4: nothing is in `limits_unenforced`, so each bites, and is told with its evidence."""
    outcome = await box.run(code, limits=limits)
    assert (outcome.status, set(outcome.limits_hit)) == (status, set(hit)), outcome


async def test_exactly_as_many_processes_as_the_limit_says(box):
    """CONTRACT 4: `pids` is the cgroup's; what waits outside is not the job's to count."""
    code = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0: time.sleep(60)
        made += 1
except BlockingIOError: print(made)
"""
    assert (await box.run(code, limits={"pids": 20})).stdout == "18\n"  # the runner and the leader are two


async def test_a_worker_that_is_killed_from_outside_is_our_fault(box):
    """CONTRACT 4: `infra`, may have run; the next execution is served."""
    begun = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        told = Told(lambda status: status == "running" and begun.set())
        under_way = group.create_task(box.run("while True: pass", progress=told))
        await begun.wait()
        for pid in processes(SETTINGS):
            os.kill(parent_of(pid), signal.SIGKILL)  # the runner
    assert under_way.result().status == "infra"
    assert (await box.run("print(1)")).stdout == "1\n"


async def test_a_runner_that_does_not_answer_is_killed_and_proven_dead(state):
    """R2-17: the backend ends what its runner does not, and says so; nothing waits for it longer than it has to."""
    settings = SETTINGS.model_copy(update={"grace_ms": 200, "engine_timeout_ms": 5_000})
    async with opened(state, settings) as box, asyncio.TaskGroup() as group:
        begun, clock = asyncio.Event(), asyncio.get_running_loop().time
        told = Told(lambda status: status == "running" and begun.set())
        under_way = group.create_task(box.run("while True: pass", limits={"wall_ms": 500}, progress=told))
        await begun.wait()
        since = clock()
        for pid in processes(settings):
            os.kill(parent_of(pid), signal.SIGSTOP)  # the runner
        outcome = await under_way
        assert (outcome.status, processes(settings)) == ("timeout", []), outcome
        assert clock() - since < 3


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_twenty_workers_leave_no_descriptor_no_group_and_no_process(state):
    """ABUSE: after every case nothing may be left."""
    async with opened(state, SETTINGS) as box:
        await asyncio.gather(*(box.run("print(1)") for _ in range(4)))
        await settled(box)
        before = len(os.listdir("/proc/self/fd"))
        outcomes = await asyncio.gather(*(box.run("print(1)") for _ in range(20)))
        assert [outcome.status for outcome in outcomes] == ["ok"] * 20
        await settled(box)
        assert len(os.listdir("/proc/self/fd")) == before
    assert processes(SETTINGS) == []


async def settled(box) -> None:
    """Wait until what was used is removed, which is done in a moment and tells nobody."""
    async with asyncio.timeout(5):
        while box.sandbox._pool._under_way or box.sandbox._pool._leaving:
            await asyncio.sleep(0.01)


async def test_a_cell_is_wiped_between_its_jobs(box):
    """CONTRACT 4: reused, one execution at a time, wiped in between."""
    code = "import os; print(os.listdir('.') + os.listdir('/tmp') + os.listdir('/dev/shm')); open('a', 'w'); open('/dev/shm/a', 'w')"
    outcomes = [await box.run(code, isolation="cell") for _ in range(3)]
    assert [(o.stdout, o.sandbox.warm) for o in outcomes] == [("[]\n", False), ("[]\n", True), ("[]\n", True)]


PROGRAM = """
import asyncio, sys
from pathlib import Path
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.testing.daemons import running
from tests.attack.rig import Told, opened

async def main(state, daemon, uid_first):
    def told(status):
        if status == 'running': print('running', flush=True)
    settings = SandboxSettings(engine='bubblewrap', armed=1, uid_first=int(uid_first))
    async with opened(Path(state), settings, daemon) as box:
        await asyncio.gather(*(box.run('import os; os.fork()\\nwhile True: pass', progress=Told(told)) for _ in range(2)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_workers_die_with_a_killed_daemon_and_its_next_life_sweeps_their_groups(state):
    """R2-17: jobs die with the daemon; its next start reaps, and touches nobody else's."""
    mine, other = new_id(), new_id()
    settings = SETTINGS.model_copy(update={"uid_first": IDS + 3_000})
    async with opened(state, SETTINGS, other) as neighbour:
        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(state), mine, str(settings.uid_first), stdout=asyncio.subprocess.PIPE,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        begun = 0
        while begun < 2:
            begun += await victim.stdout.readline() == b"running\n"
        assert len(processes(settings)) >= 2
        victim.send_signal(signal.SIGKILL)
        await victim.wait()
        async with asyncio.timeout(2):
            while processes(settings):
                await asyncio.sleep(0.01)
        assert groups(mine)
        async with opened(state, settings, mine):
            assert groups(mine) == []
        assert (await neighbour.run("print(1)")).stdout == "1\n"


async def test_without_control_groups_it_serves_only_whom_that_does_not_matter(state, monkeypatch):
    """CONTRACT 4: a limit that is lacking is listed, bounded where it can be, and its absence accepted by name."""
    monkeypatch.setattr(cgroups, "find", lambda _: None)
    async with opened(state, SETTINGS) as box:
        status, why = box.sandbox.health()
        assert (status, "sandbox.accept_unenforced" in why) == ("degraded", True), why
    accepted = SETTINGS.model_copy(update={"accept_unenforced": ["memory_bytes", "cpu_ms"]})
    async with opened(tmp_of(state), accepted) as box:
        seen = {name: await box.run(code, limits=limits) for name, (code, limits) in BOUNDED.items()}
    assert {name: (o.status, o.limits_hit) for name, o in seen.items()} == {
        "memory": ("error", []), "cpu": ("timeout", ["cpu_ms"]), "of children": ("timeout", ["cpu_ms"]), "pids": ("ok", []),
        "inodes": ("error", ["inodes"]), "wall": ("timeout", ["wall_ms"]), "threads": ("ok", []),
    }, seen  # fmt: skip
    assert "MemoryError" in seen["memory"].stderr
    assert int(seen["pids"].stdout) < 20
    assert {tuple(o.sandbox.limits_unenforced) for o in seen.values()} == {("memory_bytes", "cpu_ms")}


BOUNDED = {
    "memory": ("x = b'x' * 2**30", {"memory_bytes": 64 * MIB}),
    "cpu": ("while True: pass", {"cpu_ms": 100}),
    "of children": (
        "import os\nwhile True:\n if not os.fork():\n  for _ in range(10**6): pass\n  os._exit(0)\n os.wait()",
        {"cpu_ms": 200},
    ),
    "pids": (
        "import os, time\nn = 0\ntry:\n while True:\n  if os.fork() == 0: time.sleep(9)\n  n += 1\nexcept OSError: print(n)",
        {"pids": 20},
    ),
    "inodes": ("for n in range(200): open(str(n), 'w')", {"inodes": 64}),
    "wall": ("import time; time.sleep(9)", {"wall_ms": 200}),
    "threads": ("from threading import Thread\nfor t in [Thread(target=print) for _ in range(50)]: t.start()", {}),
}


def tmp_of(state: Path) -> Path:
    """A state directory of its own, where no limits are known to hold."""
    (state / "other").mkdir(exist_ok=True)
    return state / "other"


AS_SOMEBODY = """
set -e
cp /etc/passwd "$1/passwd"; echo "somebody:x:$2:$2::/:/bin/sh" >> "$1/passwd"; echo "somebody:2000000:65536" > "$1/ids"
mount --bind "$1/passwd" /etc/passwd
for file in /etc/subuid /etc/subgid; do touch $file; mount --bind "$1/ids" $file; done
id=$2; shift 2
exec setpriv --reuid $id --regid $id --clear-groups --inh-caps=-all,+dac_read_search \
    --ambient-caps=-all,+dac_read_search "$@"
"""
"""Become a user with lent ids, in a mount namespace where he exists; he may read the checkout, wherever that is."""

RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
ROOTLESS = """
import asyncio, os, sys
from orchestrator.sandbox.settings import SandboxSettings
from orchestrator.testing.daemons import running
from tests.attack.rig import opened

async def main():
    accepted = ["memory_bytes", "cpu_ms"]
    async with opened(None, SandboxSettings(engine="bubblewrap", armed=0, accept_unenforced=accepted)) as box:
        assert box.sandbox.health()[0] == "ok", box.sandbox.health()
        outcome = await box.run("print(*open('/proc/self/uid_map'))")
        print(os.geteuid(), outcome.status, outcome.stdout.split()[:6])
        print((await box.run("x = []\\nwhile True: x.append(bytes(2**20))")).status)

asyncio.run(main())
"""


@pytest.mark.skipif(
    RESTRICTED.exists() and RESTRICTED.read_text() != "0\n", reason="this machine keeps user namespaces from programs"
)
async def test_a_daemon_that_is_not_root_has_workers_too(state, tmp_path):
    """CONTRACT 4: the local fallback is for who develops, and he is not root; the walls held, or it would not serve."""
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "--propagation", "private", "sh", "-c", AS_SOMEBODY, "sh", str(tmp_path), "12345",
        sys.executable, "-B", "-c", ROOTLESS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said = (await process.communicate())[0].decode().splitlines()
    assert said[-2:] == ["12345 ok ['0', '12345', '1', '1', '2000000', '65535']", "error"], said


async def test_without_bubblewrap_it_says_what_mends_it(state, monkeypatch):
    """CONTRACT 4: the daemon starts, says so, answers 503; never unsandboxed."""
    monkeypatch.setenv("PATH", "/nowhere")
    async with opened(state, SETTINGS) as box:
        status, why = box.sandbox.health()
        assert (status, why) == (
            "degraded",
            "bwrap, unshare, setpriv, prlimit is missing; mend it with: apt-get install bubblewrap util-linux",
        )
        with pytest.raises(Unavailable):
            await box.run("print(1)")
