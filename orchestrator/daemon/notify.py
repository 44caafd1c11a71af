"""What a service manager is told (systemd's notify protocol), where there is one."""

import os
import socket


def notify(message: str) -> None:
    """Send a state such as `READY=1`; does nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.sendto(message.encode(), address)


def watchdog_interval_s() -> float | None:
    """How often to say `WATCHDOG=1`: half of what the service manager allows, or None if it does not ask."""
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 2_000_000 if text.isdigit() and int(text) > 0 else None


def activated() -> bool:
    """Whether a service manager listens already and hands its socket over."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0"


def inherited_socket() -> socket.socket | None:
    """The listening socket of socket activation, or None."""
    return socket.socket(fileno=3) if activated() else None
