"""I7 to I12: the log says what the tables say, the chain holds, outputs are references, every step was legal."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise

from sqlalchemy import select

from orchestrator.audit import chain
from orchestrator.audit.anchors import Anchored
from orchestrator.governance.commands.machine import EDGES, Status
from orchestrator.governance.invariants.findings import Finding, judged
from orchestrator.storage import schema
from orchestrator.storage.port import Tx

_BLOCK = 10_000
_REFERENCE = {"ref", "sha256", "size", "type"}
_RAW = {"stdout", "stderr", "output", "value", "artifacts"}
_LEGAL: frozenset[tuple[Status, Status]] = frozenset(
    (status, to) for edges in EDGES.values() for status, goals in edges.items() for to in goals
)


def history(tx: Tx) -> dict[str, list[tuple[int, str]]]:
    """The log of events folded: of each command the states that it went through, with the event that told each."""
    c = schema.events.c
    query = select(c.seq, c.subject, c.data).where(c.topic.like("command.%")).order_by(c.seq)
    states: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for seq, subject, data in tx.execute(query).yield_per(_BLOCK):
        status = data.get("status")
        if status is not None and (not states[subject] or states[subject][-1][1] != status):
            states[subject].append((seq, status))
    return states


def folded(tx: Tx) -> Finding:
    """I7: the log of events, folded, is what the table says."""
    states = history(tx)
    rows = dict(tx.execute(select(schema.commands.c.id, schema.commands.c.status)).all())
    broken = [
        f"the command {one} is {status}, and by its events {states[one][-1][1] if states.get(one) else 'never was'}"
        for one, status in rows.items()
        if not states.get(one) or states[one][-1][1] != status
    ]
    broken += [f"the command {one} has events and no row" for one in states if one not in rows]
    return judged("I7", "the events of each command lead to its row", f"{len(rows)} commands", broken)


def chained(tx: Tx, known: Anchored) -> Finding:
    """I8: the audit's chain holds, up to its last anchor outside the database."""
    query = select(*(schema.audit.c[name] for name in chain.COLUMNS)).order_by(schema.audit.c.seq)
    rows = tx.execute(query).yield_per(_BLOCK)
    bad, _, following = chain.first_bad(rows, anchors=known.hashes)
    anchored = 0 if known.last is None else known.last.seq
    broken = [] if bad is None else [f"row {bad} does not follow"]
    if bad is None and anchored >= following:
        broken.append(f"it ends at row {following - 1}, and row {anchored} was anchored")
    if known.forged:
        broken.append(f"{known.forged} anchors were not signed here")
    return judged("I8", "the chain holds to its last anchor", f"{following - 1} rows, anchored to {anchored}", broken)


def references(tx: Tx) -> Finding:
    """I9: outputs lie in the blob store alone; rows and events refer to them."""
    sizes: Mapping[str, int] = dict(tx.execute(select(schema.blobs.c.sha256, schema.blobs.c.size)).all())
    results = [(f"result {one}", ref) for one, ref in tx.execute(
        select(schema.execution_results.c.id, schema.execution_results.c.output_reference)
    ).all()]  # fmt: skip
    o = schema.outputs.c
    versions = tx.execute(select(o.command_id, o.step_index, o.version, o.output_reference)).all()
    results += [(f"output {step}.{version} of the command {one}", ref) for one, step, version, ref in versions]
    broken = [f"{what}: {fault}" for what, ref in results for fault in _faults(ref, sizes)]
    e = schema.events.c
    for seq, data in tx.execute(select(e.seq, e.data).where(e.topic.like("sandbox.%") | e.topic.like("command.%"))):
        if raw := sorted(_RAW & set(data)):
            broken.append(f"event {seq} carries {', '.join(raw)}")
    return judged("I9", "outputs are blobs, and all else refers to them", f"{len(results)} references", broken)


def _faults(reference: Mapping[str, object], sizes: Mapping[str, int]) -> Iterator[str]:
    if set(reference) != _REFERENCE:
        yield f"is no reference, but has {', '.join(sorted(reference))}"
    elif str(reference["ref"]) not in sizes:
        yield f"refers to the blob {reference['ref']}, which is not there"
    elif sizes[str(reference["ref"])] != reference["size"]:
        yield f"says {reference['size']} bytes, and the blob has {sizes[str(reference['ref'])]}"


def legal(tx: Tx) -> Finding:
    """I10: every move of a command was one that the machine has."""
    count, broken = 0, []
    for one, states in history(tx).items():
        if states[0][1] != "created":
            broken.append(f"the command {one} began as {states[0][1]} (event {states[0][0]})")
        for (_, before), (seq, after) in pairwise(states):
            count += 1
            if (before, after) not in _LEGAL:
                broken.append(f"the command {one} went from {before} to {after} (event {seq})")
    return judged("I10", "every move of a command was legal", f"{count} moves", broken)


LATER = (
    Finding("I11", "windows partition what was accepted: there are no windows yet", None, "nothing to count"),
    Finding("I12", "nothing is promoted without one: there is no promotion yet", None, "nothing to count"),
)


def check(tx: Tx, known: Anchored) -> list[Finding]:
    """I7 to I12."""
    return [folded(tx), chained(tx, known), references(tx), legal(tx), *LATER]
