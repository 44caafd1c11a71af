"""A peer's way to run a program, as a process of the peer's own environment; it knows nothing of this project.

`python peers.py NAME IMAGE CODE`: says `ready`, then for each line on stdin runs the program and says the milliseconds.
"""

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator

MEMORY_MB, PIDS = 128, 64


@contextlib.contextmanager
def epicbox(image: str, code: str) -> Iterator[Callable[[], str]]:
    """A container for each program."""
    import epicbox

    epicbox.configure(profiles=[epicbox.Profile("python", image, user="65534")])
    limits = {"memory": MEMORY_MB, "processes": PIDS}
    yield lambda: epicbox.run("python", f"python3 -I -c '{code}'", limits=limits)["stdout"].decode()


@contextlib.contextmanager
def llm_sandbox(image: str, code: str) -> Iterator[Callable[[], str]]:
    """One session, kept: a container in which one program after another is run."""
    from llm_sandbox import SandboxSession

    walls = {"network_mode": "none", "mem_limit": f"{MEMORY_MB}m", "pids_limit": PIDS, "entrypoint": ["sleep", "3600"]}
    with SandboxSession(
        lang="python", image=image, skip_environment_setup=True, keep_template=True, runtime_configs=walls
    ) as opened:
        yield lambda: opened.run(code).stdout


def main(name: str, image: str, code: str) -> None:
    """Serve until stdin ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with {"epicbox": epicbox, "llm-sandbox": llm_sandbox}[name](image, code) as run:
        if run().strip() != "42":
            raise SystemExit("it did not run the program")
        print("ready", flush=True)
        for _ in sys.stdin:
            began = time.perf_counter()
            run()
            print((time.perf_counter() - began) * 1e3, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
