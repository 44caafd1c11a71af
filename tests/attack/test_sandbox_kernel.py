"""Kernel: the calls that lead out are refused, and the posture read back is the policy (ABUSE "Kernel")."""

import json

import pytest

# number on x86_64, number on aarch64 (None: not there), arguments
CALLS = {
    "mount": (165, 40, ()), "umount2": (166, 39, ()), "pivot_root": (155, 41, ()), "chroot": (161, 51, ()),
    "unshare a user namespace": (272, 97, (0x10000000,)), "unshare a mount namespace": (272, 97, (0x20000,)),
    "setns": (308, 268, (0, 0)), "clone into a user namespace": (56, 220, (0x10000011, 0, 0, 0, 0)),
    "fsopen": (430, 430, ()), "fsmount": (432, 432, ()), "open_tree": (428, 428, ()), "move_mount": (429, 429, ()),
    "mount_setattr": (442, 442, ()), "bpf": (321, 280, ()), "perf_event_open": (298, 241, ()),
    "userfaultfd": (323, 282, ()), "add_key": (248, 217, ()), "request_key": (249, 218, ()), "keyctl": (250, 219, (0, -3)),
    "io_uring_setup": (425, 425, (8, 0)), "io_uring_enter": (426, 426, ()), "io_uring_register": (427, 427, ()),
    "io_setup": (206, 0, ()), "kexec_load": (246, 104, ()), "kexec_file_load": (320, 294, ()),
    "init_module": (175, 105, ()), "finit_module": (313, 273, ()), "delete_module": (176, 106, ()),
    "reboot": (169, 142, (0xFEE1DEAD, 672274793, 0)), "swapon": (167, 224, ()), "swapoff": (168, 225, ()),
    "open_by_handle_at": (304, 265, ()), "name_to_handle_at": (303, 264, ()), "ptrace": (101, 117, (0,)),
    "process_vm_readv": (310, 270, ()), "process_vm_writev": (311, 271, ()), "kcmp": (312, 272, ()),
    "pidfd_getfd": (438, 438, ()), "process_madvise": (440, 440, ()), "personality": (135, 92, (0x0040000,)),
    "acct": (163, 89, ()), "quotactl": (179, 60, ()), "syslog": (103, 116, ()), "sethostname": (170, 161, ()),
    "setdomainname": (171, 162, ()), "settimeofday": (164, 170, ()), "clock_settime": (227, 112, ()),
    "adjtimex": (159, 171, ()), "iopl": (172, None, ()), "ioperm": (173, None, ()), "modify_ldt": (154, None, ()),
    "fanotify_init": (300, 262, ()), "vhangup": (153, 58, ()), "lookup_dcookie": (212, 18, ()),
    "mbind": (237, 235, ()), "migrate_pages": (256, 238, ()), "move_pages": (279, 239, ()), "shmget": (29, 194, ()),
    "msgget": (68, 186, ()), "semget": (64, 190, ()), "mq_open": (240, 180, ()), "memfd_secret": (447, 447, ()),
    "vmsplice": (278, 75, ()), "capset is harmless, nfsservctl is not": (180, 42, ()),
}  # fmt: skip

TRY_CALLS = """
import ctypes, json, os, platform, sys
libc = ctypes.CDLL(None, use_errno=True)
column = {'x86_64': 0, 'aarch64': 1}[platform.machine()]
seen = {}
for name, (*numbers, arguments) in json.load(sys.stdin).items():
    if numbers[column] is not None:
        answer = libc.syscall(ctypes.c_long(numbers[column]), *(ctypes.c_long(a) for a in arguments), *([ctypes.c_long(0)] * (6 - len(arguments))))
        seen[name] = ctypes.get_errno() if answer == -1 else f'worked: {answer}'
        if answer == 0 and name.startswith('clone'): os._exit(0)
print(json.dumps(seen))
"""

SOCKETS = {"AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38, "AF_VSOCK": 40, "AF_KEY": 15, "AF_BLUETOOTH": 31, "AF_CAN": 29,
           "AF_TIPC": 30, "AF_XDP": 44, "AF_RDS": 21}  # fmt: skip

SECRETS = """
import os
paths = ['/proc/kcore', '/proc/kallsyms', '/proc/kmsg', '/dev/mem', '/dev/kmem', '/dev/port', '/dev/kmsg', '/dev/sda', '/dev/vda',
         '/proc/keys', '/proc/timer_list', '/proc/modules', '/proc/1/mem', '/sys/firmware/dmi/tables/DMI', '/sys/kernel/notes',
         '/var/run/docker.sock', '/run/docker.sock', '/root/x', '/etc/shadow']
for path in paths:
    try:
        with open(path, 'rb') as f: data = f.read(64)
    except OSError: continue
    if data.strip(b'\\0'): print('read', path, data)
for path in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname', '/proc/sys/vm/overcommit_memory',
             '/proc/sys/fs/binfmt_misc/register', '/proc/self/uid_map', '/proc/1/oom_score_adj', '/sys/fs/cgroup/memory/memory.limit_in_bytes',
             '/sys/fs/cgroup/memory.max', '/sys/fs/cgroup/cgroup.procs', '/sys/fs/cgroup/memory/release_agent', '/sys/kernel/uevent_helper'):
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        try: os.write(os.open(path, flags), b'0 0 1')
        except OSError: continue
        print('wrote', path)
print('closed')
"""

POSTURE = """
import json, os, resource, socket
status = dict(line.split(':\\t', 1) for line in open('/proc/self/status') if ':\\t' in line)
names = ('Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs', 'Seccomp')
print(json.dumps({
    **{name: status.get(name, '').split() for name in names},
    'core': resource.getrlimit(resource.RLIMIT_CORE), 'files': resource.getrlimit(resource.RLIMIT_NOFILE),
    'env': dict(os.environ), 'cwd': os.getcwd(), 'host': socket.gethostname(), 'etc': [open('/etc/' + n).read() for n in ('hostname', 'resolv.conf', 'hosts')],
    'mounts': sorted(line.split()[1] for line in open('/proc/mounts') if line.split()[2] not in ('proc', 'sysfs', 'cgroup', 'cgroup2')),
    'cmdline': open('/proc/1/cmdline').read().split('\\0'),
}))
"""


@pytest.mark.engine
async def test_calls_that_lead_out_are_refused(run):
    """CONTRACT 4 "Always": the system call filter, each call tried with its number. EPERM is 1."""
    outcome = await run(TRY_CALLS, stdin=json.dumps({name: list(call) for name, call in CALLS.items()}))
    assert outcome.status == "ok", outcome
    assert {name: answer for name, answer in json.loads(outcome.stdout).items() if answer != 1} == {}


@pytest.mark.engine
async def test_clone3_is_not_there_and_libc_manages_without(run):
    """Its flags cannot be looked at, so it answers ENOSYS (38), and threads and processes start all the same."""
    calls = json.dumps({"clone3": [435, 435, [0, 0]]})
    outcome = await run(TRY_CALLS, stdin=calls)
    assert json.loads(outcome.stdout) == {"clone3": 38}
    threads = "import threading, subprocess\nthreading.Thread(target=print, args=('thread',)).start()\nsubprocess.run(['echo', 'process'])"
    assert sorted((await run(threads)).stdout.split()) == ["process", "thread"]


@pytest.mark.engine
async def test_socket_families_other_than_the_ordinary_are_refused(run):
    """CONTRACT 4: no AF_VSOCK, AF_ALG, AF_PACKET, no raw socket."""
    code = f"""
import socket
for name, family in {SOCKETS!r}.items():
    for kind in (1, 2, 3, 5):
        try: socket.socket(family, kind, 0)
        except PermissionError: continue
        except OSError as fault: print(name, kind, fault)
        else: print(name, kind, 'opened')
for family, kind, protocol in ((2, 1, 132), (2, 1, 262), (10, 1, 262), (2, 2, 1), (2, 2, 136), (10, 2, 58), (2, 5, 132)):
    try: socket.socket(family, kind, protocol)
    except PermissionError: continue
    except OSError as fault: print(family, kind, protocol, fault)
    else: print(family, kind, protocol, 'opened')
for family, kind, protocol in ((2, 1, 6), (10, 1, 6), (2, 2, 17), (10, 2, 0), (1, 5, 0)):
    socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol).close()
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
    for kind in (3, 3 | socket.SOCK_CLOEXEC, 3 | socket.SOCK_NONBLOCK):
        try: socket.socket(family, kind, 1)
        except PermissionError: continue
        except OSError as fault: print(family, kind, fault)
        else: print(family, kind, 'opened')
"""
    outcome = await run(code)
    assert (outcome.status, outcome.stdout) == ("ok", ""), outcome.stderr


@pytest.mark.engine
async def test_the_kernels_files_are_closed(run):
    """ABUSE: /proc and /sys by every way of opening."""
    outcome = await run(SECRETS)
    assert (outcome.status, outcome.stdout) == ("ok", "closed\n"), outcome


@pytest.mark.engine
async def test_posture_read_back_is_the_policy(run):
    """R2-17: unprivileged ids, no groups, no capability, no_new_privs, the filter; nothing of the host or the daemon."""
    seen = json.loads((await run(POSTURE)).stdout)
    assert len({*seen["Uid"], *seen["Gid"]}) == 1
    assert int(seen["Uid"][0]) >= 20_000
    assert seen["Groups"] == []
    assert [seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [["0" * 16]] * 4
    assert (seen["NoNewPrivs"], seen["Seccomp"]) == (["1"], ["2"])
    assert (seen["core"], seen["files"]) == ([0, 0], [256, 256])
    assert set(seen["env"]) == {"PATH", "HOME", "LANG"}
    assert (seen["cwd"], seen["env"]["HOME"], seen["host"]) == ("/box/work", "/box/work", "sandbox")
    hostname, resolver, hosts = seen["etc"]
    assert hostname == "sandbox\n"
    assert resolver.split() in ([], ["nameserver", "127.0.0.1"], ["nameserver", "127.0.0.1", "search", "."]), resolver
    names = {line.split()[0] for line in hosts.splitlines() if line.strip()}
    assert names <= {"127.0.0.1", "::1", "fe00::0", "ff00::0", "ff02::1", "ff02::2"}
    assert "localhost" in hosts
    assert {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"} >= {m for m in seen["mounts"] if m.startswith("/etc")}
