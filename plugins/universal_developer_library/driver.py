"""Calls programs on inputs, inside the sandbox, and says what each returned. Data of the plugin, never imported by it.

Standard input: `{"nonce", "programs": [{"source", "entry_point"}], "inputs": [[argument, ...], ...]}`.
Standard output: a last line that is the nonce and, behind it, JSON: for each program a list with, for each input,
`{"output": value}` or `{"error": text}`. Nothing here knows what was expected; comparing is the host's.

Each program runs in a child of its own with a share of the time and of the memory, so that one which spins, floods or
dies leaves the others their answers.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ALL_SECONDS, AGAIN_SECONDS = 8.0, 1.0
MEMORY_BYTES = 64 * 2**20
OUTPUT_CHARACTERS = 2**16
ALL_CHARACTERS = 900_000
DEPTH = 64
LATE = "no answer in its share of the time"
PLAIN = (str, int, float, bool, type(None))


def reject_what_is_not_json(value: Any, depth: int = DEPTH) -> None:
    """Raise TypeError for a tuple, a set, an object … at any depth: JSON has no word for them, and none is made up."""
    if depth == 0:
        raise TypeError(f"the output is nested more than {DEPTH} levels deep")
    if type(value) is dict:
        if any(type(key) is not str for key in value):
            raise TypeError("the output has a dictionary whose keys are not all text, which JSON cannot express")
        value = list(value.values())
    if type(value) is list:
        for item in value:
            reject_what_is_not_json(item, depth - 1)
    elif type(value) not in PLAIN:
        raise TypeError(f"the output has a {type(value).__name__}, which JSON cannot express")


def give_up(*_: object) -> None:
    """What the alarm clock does to a call that takes too long."""
    raise TimeoutError(LATE)


def outcome_of(function: Callable[..., Any], arguments: list[Any], seconds: float) -> dict[str, Any]:
    """One call's output, or what it raised instead; it has `seconds`."""
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        output = function(*arguments)
        reject_what_is_not_json(output)
        text = json.dumps(output, ensure_ascii=False, allow_nan=False)
        text.encode()
        if len(text) > OUTPUT_CHARACTERS:
            raise ValueError(f"the output is longer than {OUTPUT_CHARACTERS} characters")
    except BaseException as fault:  # noqa: BLE001 - whatever a program raises, exits included, is its outcome
        told = f"{type(fault).__name__}: {fault}"[:500]
        return {"error": told.encode("utf-8", "replace").decode()}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"output": output}


def limit_memory() -> None:
    """Let this process grow by `MEMORY_BYTES`, so that a greedy call gets a MemoryError and the run goes on."""
    pages = Path("/proc/self/statm").read_text().split()[0]
    space = int(pages) * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (space, space))


def answer(program: dict[str, str], inputs: list[list[Any]], pipe: int, seconds: float) -> None:
    """The child: run the program's source, then call its entry point on each input, a line for each outcome."""
    limit_memory()
    signal.signal(signal.SIGALRM, give_up)
    module: dict[str, Any] = {"__name__": "program"}
    exec(compile(program["source"], "program.py", "exec"), module)  # noqa: S102 - this is the place to run it
    function, share = module[program["entry_point"]], 0.9 * seconds / len(inputs)
    with open(pipe, "w") as lines:
        for arguments in inputs:
            print(json.dumps(outcome_of(function, arguments, share)), file=lines, flush=True)


def read_until(pipe: int, deadline: float) -> tuple[str, bool]:
    """All that comes out of `pipe` until its end or the deadline, and whether it came to its end."""
    said = bytearray()
    while (left := deadline - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        piece = os.read(pipe, 2**16)
        if not piece:
            return said.decode(), True
        said += piece
    return said.decode(), False


def run(program: dict[str, str], inputs: list[list[Any]], deadline: float) -> list[dict[str, Any]]:
    """The outcomes of one program; the inputs that it did not come to have an error that says so."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer(program, inputs, writing, deadline - time.monotonic())
        finally:
            os._exit(0)
    os.close(writing)
    said, ended = read_until(reading, deadline)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    done = [json.loads(line) for line in said.splitlines(keepends=True) if line.endswith("\n")]
    why = "the program ended early" if ended else LATE
    return done + [{"error": why}] * (len(inputs) - len(done))


def late(outcomes: list[dict[str, Any]]) -> bool:
    """Whether a call was ended because its share of the time was over."""
    return any(LATE in outcome.get("error", "") for outcome in outcomes)


def main() -> None:
    """Read the task, run each program, print what came. The first is the likeliest and has half the time.

    A machine that is busy just then makes any program late, so those that were have a second chance.
    """
    task = json.load(sys.stdin)
    programs, inputs, end = task["programs"], task["inputs"], time.monotonic() + ALL_SECONDS
    results, room = [], ALL_CHARACTERS

    def tried(program: dict[str, str], seconds: float) -> list[dict[str, Any]]:
        nonlocal room
        outcomes = run(program, inputs, time.monotonic() + seconds)
        room -= len(json.dumps(outcomes))
        return outcomes if room > 0 else [{"error": "no room is left for this output"}] * len(outcomes)

    for position, program in enumerate(programs):
        shares = len(programs) - position if position else min(2, len(programs))
        results.append(tried(program, (end - time.monotonic()) / shares))
    again = [position for position, outcomes in enumerate(results) if late(outcomes)]
    for done, position in enumerate(again):
        left = (end - time.monotonic()) / (len(again) - done)
        results[position] = tried(programs[position], min(left, AGAIN_SECONDS))
    sys.stdout.write("\n" + task["nonce"] + json.dumps(results))


main()
