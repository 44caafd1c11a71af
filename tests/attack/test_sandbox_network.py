"""Network: none but the job's own loopback (ABUSE "Network", R2-08)."""

import asyncio

import pytest

TRY = """
import socket
def reach(family, kind, *address):
    s = socket.socket(family, kind)
    s.settimeout(2)
    try:
        s.connect(address); s.send(b'x')
    except OSError as fault: return type(fault).__name__
    return 'reached'
"""
NO_WAY = "OSError"  # network is unreachable

CASES = {
    "TCP out": {"code": TRY + "print(reach(2, 1, '192.0.2.1', 80))", "says": NO_WAY},
    "UDP out": {"code": TRY + "print(reach(2, 2, '192.0.2.1', 53))", "says": NO_WAY},
    "IPv6 out": {"code": TRY + "print(reach(10, 1, '2001:db8::1', 80))", "says": NO_WAY},
    "link-local and metadata": {"code": TRY + "print(reach(2, 1, '169.254.169.254', 80))", "says": NO_WAY},
    "private networks": {
        "code": TRY + "print({reach(2, 1, a, 80) for a in ('10.0.0.1', '172.17.0.1', '192.168.0.1')})", "says": "{'OSError'}",
    },
    "broadcast": {
        "code": TRY + "s = socket.socket(2, 2); s.setsockopt(1, 6, 1)\ntry: s.sendto(b'x', ('255.255.255.255', 9))\nexcept OSError: print('no')",
        "says": "no",
    },
    "names": {
        "code": "import socket\ntry: socket.getaddrinfo('example.org', 80)\nexcept socket.gaierror: print('no name')", "says": "no name",
    },
    "interfaces": {"code": "import os; print(os.listdir('/sys/class/net'))", "says": "['lo']"},
    "routes": {"code": "print(len(open('/proc/net/route').readlines()))", "says": "1"},
    "sockets of the host": {"code": "print(len(open('/proc/net/unix').readlines()))", "says": "1"},
    "the host's loopback": {"code": TRY + "print({reach(2, 1, '127.0.0.1', p) for p in (22, 80, 2375, 8000)})", "says": "{'ConnectionRefusedError'}"},
    "its own loopback": {
        "code": """
import socket, threading
server = socket.create_server(('127.0.0.1', 8000))
threading.Thread(target=lambda: server.accept()[0].send(b'hello')).start()
print(socket.create_connection(('127.0.0.1', 8000)).recv(5))
""",
        "says": "b'hello'",
    },
}  # fmt: skip


@pytest.mark.engine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_network(attack, case):
    """R2-08: network disabled."""
    await attack(**case)


@pytest.mark.engine
async def test_two_jobs_hold_one_loopback_port(run):
    """Each has a network of its own, so each may bind what the other holds, in names of sockets too."""
    code = """
import socket, time
a = socket.create_server(('127.0.0.1', 8000))
b = socket.socket(socket.AF_UNIX); b.bind('\\0name'); b.listen()
time.sleep(0.6); print('held')
"""
    outcomes = await asyncio.gather(run(code), run(code))
    assert [outcome.stdout for outcome in outcomes] == ["held\n"] * 2
