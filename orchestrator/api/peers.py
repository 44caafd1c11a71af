"""Where a request comes from, and to whom it says it is addressed. Pure over addresses and headers."""

import ipaddress
from collections.abc import Mapping, Sequence
from functools import lru_cache

_FORWARDING = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@lru_cache(maxsize=1024)
def is_loopback_address(address: str) -> bool:
    """Whether an address is the machine's own."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def is_loopback(peer: str, headers: Mapping[str, str]) -> bool:
    """Whether a request is surely local: from loopback, and forwarded by nobody (CONTRACT 1)."""
    return is_loopback_address(peer) and not any(name in headers for name in _FORWARDING)


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    name, _, port = header.rpartition(":")
    return (name if name and port.isdigit() else header).lower().rstrip(".")


def host_allowed(header: str, allowed: Sequence[str], bound: str) -> bool:
    """Whether a Host header names this daemon, so that a page elsewhere cannot rebind a name to it."""
    name = host_name(header)
    return (
        name in _LOOPBACK_NAMES or name in {a.lower() for a in allowed} or (name == bound and bound not in _ANY_ADDRESS)
    )


def origin_allowed(origin: str, host_header: str, allowed: Sequence[str]) -> bool:
    """Whether an Origin is this daemon's own page or one that a setting names."""
    return origin in allowed or (origin != "null" and origin.removeprefix("http://") == host_header)


def in_networks(peer: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(n, strict=False) for n in networks)
