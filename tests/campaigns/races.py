"""Sixty-four at once on one command, deadline, budget or scope: what may happen once happens once (REQUIREMENTS 3.2)."""

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from orchestrator.contracts.costs import Bound
from orchestrator.storage import schema
from orchestrator.testing.daemons import Running
from tests.campaigns.governed import World, at_once, codes, daemon, won
from tests.campaigns.report import Report

AT_ONCE = 64
DEADLINE_S = 0.2
Faults = list[str]


async def campaign(rounds: int = 1_000, seed: int = 1, **settings: Any) -> Report:
    """So many rounds of each race; `settings` are the daemon's, such as its store's address."""
    report = Report(f"{len(RACES)} races of {AT_ONCE} at once, {rounds} rounds each")
    chance = random.Random(seed)
    for name, race in RACES.items():
        late = {"governance__approval_ttl_s": DEADLINE_S} if race is approve_at_the_deadline else {}
        with tempfile.TemporaryDirectory(prefix="orchestrator-races-") as folder:
            async with daemon(Path(folder), **late, **settings) as target:
                report.nothing(name, await race(target, rounds, chance))
                verified = (await target.admin.post("/v1/audit/verify")).json
                report.nothing(f"{name}: audit", [] if verified["ok"] else [verified])
    return report


async def execute_against_execute(target: Running, rounds: int, _chance: random.Random) -> Faults:
    """One execution of each command, and all that came while it went on hear its id."""
    world, faults = await World.new(target), []
    for _ in range(rounds):
        command_id = await world.approved()
        outcomes = await at_once(*(world.execute(command_id) for _ in range(AT_ONCE)))
        status = await world.ended(command_id)
        begun = await world.told(command_id, "command.execution_started")
        attempts = await world.rows(schema.attempts, command_id=command_id)
        if (len(set(won(outcomes))), begun, len(attempts), status) != (1, 1, 1, "completed"):
            faults.append(f"{len(set(won(outcomes)))} ids, {begun} begun, {len(attempts)} attempts, {status}")
        if codes(outcomes) - {"illegal_transition"}:
            faults.append(f"refused with {codes(outcomes)}")
    return faults


async def approve_against_reject(target: Running, rounds: int, chance: random.Random) -> Faults:
    """The first that is written wins; every other hears where the command is."""
    world, faults = await World.new(target), []
    for _ in range(rounds):
        command_id = await world.planned()
        acts = [world.approve] * (AT_ONCE // 2) + [world.reject] * (AT_ONCE // 2)
        chance.shuffle(acts)
        outcomes = await at_once(*(act(command_id) for act in acts))
        winners = [act for act, outcome in zip(acts, outcomes, strict=True) if outcome in won(outcomes)]
        wanted = "approved" if winners == [world.approve] else "cancelled"
        status = await world.status(command_id)
        states = [row["state"] for row in await world.rows(schema.approvals, command_id=command_id)]
        if len(winners) != 1 or status != wanted or states != [{"approved": "approved"}.get(status, "rejected")]:
            faults.append(f"{len(winners)} winners, {status}, {states}")
        if codes(outcomes) != {"illegal_transition"}:
            faults.append(f"refused with {codes(outcomes)}")
    return faults


async def approve_at_the_deadline(target: Running, rounds: int, chance: random.Random) -> Faults:
    """What is approved was approved in time, and begun in time; a late one is refused and the command cancelled."""
    world, faults = await World.new(target), []

    async def try_(command_id: str, after_s: float) -> str:
        await asyncio.sleep(after_s)
        await world.approve(command_id)
        return await world.execute(command_id)

    for _ in range(rounds):
        command_id = await world.planned()
        moments = [DEADLINE_S - 0.01 + chance.random() * 0.02 for _ in range(AT_ONCE)]
        outcomes = await at_once(*(try_(command_id, moment) for moment in moments))
        status = await world.ended(command_id)
        (approval,) = await world.rows(schema.approvals, command_id=command_id)
        begun = await world.rows(schema.events, subject=command_id, topic="command.execution_started")
        if any(event["time"] > approval["expires_at"] for event in begun):
            faults.append(f"begun at {begun[0]['time']}, too late for {approval['expires_at']}")
        if (status == "completed") != bool(won(outcomes)) or status not in ("completed", "cancelled"):
            faults.append(f"{len(won(outcomes))} accepted, and it is {status}")
        if codes(outcomes) - {"illegal_transition", "approval_expired"}:
            faults.append(f"refused with {codes(outcomes)}")
    return faults


async def plan_against_plan_on_one_budget(target: Running, rounds: int, _chance: random.Random) -> Faults:
    """As many as the budget covers are planned; when all are cancelled nothing is reserved and nothing was spent."""
    faults: Faults = []
    for _ in range(max(1, rounds // 10)):
        world = await World.new(target, Bound(tokens=AT_ONCE // 2))
        commands = await at_once(*(world.create() for _ in range(AT_ONCE)))
        outcomes = await at_once(*(world.plan(command_id) for command_id in commands))
        if len(won(outcomes)) != AT_ONCE // 2 or codes(outcomes) != {"budget_exceeded"}:
            faults.append(f"{len(won(outcomes))} planned, others {codes(outcomes)}")
        if (held := await world.held()) != (AT_ONCE // 2, 0):
            faults.append(f"{held} tokens reserved and spent")
        await at_once(*(world.cancel(command_id) for command_id in commands))
        if (held := await world.held()) != (0, 0):
            faults.append(f"{held} tokens reserved and spent when all are cancelled")
    return faults


async def execute_against_execute_on_one_scope(target: Running, rounds: int, _chance: random.Random) -> Faults:
    """One command with effects has the scope; others hear who. When it has ended, nobody holds it."""
    world, faults = await World.new(target), []
    waiting = await at_once(*(world.approved("build") for _ in range(AT_ONCE)))
    for _ in range(rounds):
        outcomes = await at_once(*(world.execute(command_id) for command_id in waiting))
        begun = [one for one, outcome in zip(waiting, outcomes, strict=True) if outcome in won(outcomes)]
        if not begun or codes(outcomes) - {"scope_locked"}:
            faults.append(f"{len(begun)} begun, others {codes(outcomes)}")
        for command_id in begun:
            if (status := await world.ended(command_id)) != "completed":
                faults.append(f"one with the scope is {status}")
            (step,) = (await world.commands.planning.get_plan(command_id, world.context))["steps"]
            if step["output"] != 1:
                faults.append(f"{step['output']} at the same time")
        if held := await world.locks():
            faults.append(f"held by {held} when all have ended")
        waiting = [one for one in waiting if one not in begun]
        waiting += await at_once(*(world.approved("build") for _ in begun))
    return faults


RACES: dict[str, Callable[[Running, int, random.Random], Awaitable[Faults]]] = {
    "duplicate execute": execute_against_execute,
    "approve against reject": approve_against_reject,
    "approve at the deadline": approve_at_the_deadline,
    "plans on one budget": plan_against_plan_on_one_budget,
    "commands on one scope": execute_against_execute_on_one_scope,
}
