"""A PostgreSQL server of the tests' own: an ordinary user's, on a unix socket alone, in a folder that goes with it."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from orchestrator.bootstrap.machine import Machine
from tests.own_engine import own_folder

USER, PASSWORD = "orchestrator", "p@ss/wörd:%"
"""With all that an address has to escape."""
_END_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_READY = "ready to accept connections"


class Server:
    """One server. `stop` may be a crash; what was committed is there after the next `start`."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._databases = 0
        self._free: list[str] = []

    def initialise(self) -> None:
        """Make the cluster, in which everybody gives a password."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if (owner := _user()) is not None:
            for path in (self.folder, secret):
                shutil.chown(path, owner)
        argv = [str(self._programs / "initdb"), "-D", str(self.folder / "data"), "-U", USER, f"--pwfile={secret}"]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(_as_user(argv), check=True, cwd=self.folder, capture_output=True)

    def start(self) -> None:
        """Start, and wait until it takes connections. It ends with this process, however that ends."""
        argv = [str(self._programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        argv += ["-c", "listen_addresses="]
        self._process = subprocess.Popen(_as_user(argv), cwd=self.folder, stderr=subprocess.PIPE, text=True)
        ready, told = threading.Event(), []

        def listen(lines: Iterator[str]) -> None:
            for line in lines:
                told.append(line)
                if _READY in line:
                    ready.set()
            ready.set()

        assert self._process.stderr is not None
        self._listener = threading.Thread(target=listen, args=(self._process.stderr,), name="postgres-log")
        self._listener.start()
        assert ready.wait(30), told
        assert self._process.poll() is None, told

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT is what `pg_ctl stop -m immediate` sends: nothing is saved, nothing is said to anybody."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)
            self._listener.join(30)
            assert process.stderr is not None
            process.stderr.close()

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD, folder: Path | None = None) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?host={folder or self.folder}"

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        """A connection of somebody else's."""
        return await asyncpg.connect(self.url(database))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The name of an empty database, which is emptied for the next one: ten times faster than making it anew."""
        name = self._free.pop() if self._free else await self.new_database()
        yield name
        connection = await self.connect(name)
        await connection.execute(_END_OTHERS)
        await connection.execute("DROP SCHEMA IF EXISTS public, blobs, leader CASCADE; CREATE SCHEMA public")
        await connection.close()
        self._free.append(name)

    async def new_database(self, options: str = "") -> str:
        """The name of an empty database."""
        self._databases += 1
        name = f"test{self._databases}"
        connection = await self.connect()
        await connection.execute(f"CREATE DATABASE {name} {options}")
        await connection.close()
        return name


@contextmanager
def running_server() -> Iterator[Server]:
    """A server that ends with the block."""
    programs = find()
    assert programs is not None, "PostgreSQL is not installed here: apt-get install postgresql"
    with own_folder() as folder:
        server = Server(programs, folder)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def find() -> Path | None:
    """Where an installed server's programs are."""
    found = Machine().which("postgres")
    return found.resolve().parent if found else None


def _user() -> str | None:
    """An ordinary user, where we are root: the server refuses to be root's."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as_user(argv: list[str]) -> list[str]:
    """Run by `setpriv`, which also has the kernel end it when we die."""
    user = _user()
    become = [f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"] if user else []
    return ["setpriv", "--pdeathsig=QUIT", *become, *argv]


def without_password(text: str) -> bool:
    """Whether a text has nothing of the password, plain or escaped."""
    return not any(word in text for word in (PASSWORD, quote(PASSWORD, safe=""), *re.findall(r"\w{4,}", PASSWORD)))
