"""Each guard of the governor taken away in turn: the suite must fail every time (REQUIREMENTS 3.3, "Mutation check").

It is done in a copy of the tree, and only the tests that are meant to see it are run there. That the list names what is
really in the code is a unit test's word.
"""

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.config.places import ROOT
from tests.campaigns.report import Report

_RULES = "tests/contract/test_commands_rules.py"
_HTTP = "tests/integration/test_http_commands.py"
_IDENTITIES = "tests/integration/test_http_identities.py"
_LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class Guard:
    """A piece of a file without which something must not hold any more, what stands in its place, and who sees it."""

    what: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    def count(self, root: Path) -> int:
        """How often the piece is in the file."""
        return (root / self.file).read_text().count(self.text)

    def take_away(self, root: Path) -> None:
        """Take it out of a tree."""
        path = root / self.file
        path.write_text(path.read_text().replace(self.text, self.instead))


_COMMANDS = "orchestrator/governance/commands"
GUARDS = (
    Guard(
        "an approval is used for the plan that it is for", f"{_COMMANDS}/approvals.py",
        'good = (c.id == approval_id, c.state == "approved", c.digest == digest, c.expires_at > now)',
        'good = (c.id == approval_id, c.state == "approved", c.expires_at > now)', (_RULES, _HTTP),
    ),
    Guard(
        "an approval is used once", f"{_COMMANDS}/approvals.py",
        'good = (c.id == approval_id, c.state == "approved", c.digest == digest, c.expires_at > now)',
        "good = (c.id == approval_id, c.digest == digest, c.expires_at > now)", (_RULES, _HTTP),
    ),
    Guard(
        "an approval is used in time", f"{_COMMANDS}/approvals.py",
        'good = (c.id == approval_id, c.state == "approved", c.digest == digest, c.expires_at > now)',
        'good = (c.id == approval_id, c.state == "approved", c.digest == digest)', (_RULES, _HTTP),
    ),
    Guard(
        "an approval is given in time", f"{_COMMANDS}/approvals.py",
        'open_ = (c.id == approval_id, c.state == "pending", c.expires_at > now, *same)',
        'open_ = (c.id == approval_id, c.state == "pending", *same)', (_RULES, _HTTP),
    ),
    Guard(
        "only a person approves", f"{_COMMANDS}/approvals.py",
        'if caller.kind != "person" or caller.source != "http":', "if False:", (_IDENTITIES,),
    ),
    Guard(
        "no more is reserved than there is", f"{_COMMANDS}/budgets.py",
        "        or_(b.cap_tokens.is_(None), b.reserved_tokens + b.spent_tokens + wanted.tokens <= b.cap_tokens),\n", "",
        (_RULES,),
    ),
    Guard(
        "a scope is taken alone by what has effects", f"{_COMMANDS}/locks.py",
        'if "exclusive" in (mode, other["mode"]):', "if False:", (_RULES,),
    ),
    Guard(
        "a stale token writes nothing", f"{_COMMANDS}/runs.py",
        "if not locks.holds(tx, run.scope, run.command_id, run.fence, now):", "if False:",
        ("tests/integration/test_http_incidents.py",),
    ),
    Guard(
        "an attempt has one outcome", f"{_COMMANDS}/journal.py",
        "done = tx.execute(update(attempts).where(*here, c.ended_at.is_(None)).values(",
        "done = tx.execute(update(attempts).where(*here).values(", (_RULES,),
    ),
    Guard(
        "a transition is legal", f"{_COMMANDS}/machine.py", "    if status in EDGES[act]:\n", "    if True:\n", (_HTTP,),
    ),
    Guard(
        "what was discarded stays so", f"{_COMMANDS}/machine.py", "    if resolution is not None:\n", "    if False:\n",
        ("tests/unit/test_commands_machine.py",),
    ),
    Guard(
        "a grant has as many uses as it says", "orchestrator/governance/grant_uses.py",
        "return (or_(grants.c.uses_left.is_(None), grants.c.uses_left > 0), *_unended(now))", "return _unended(now)",
        ("tests/contract/test_grant_uses.py",),
    ),
    Guard(
        "a grant ends when it is revoked", "orchestrator/governance/grant_uses.py",
        "return (g.revoked_at.is_(None), or_(", "return (or_(", ("tests/contract/test_grant_uses.py",),
    ),
    Guard(
        "a hook that raises denies", "orchestrator/governance/policies/policies.py",
        'return f"the policy hook {hook.name} {fault}, and that is a no"', "continue",
        ("tests/integration/test_http_policies.py", "tests/integration/test_python_workflows.py"),
    ),
    Guard(
        "a permit is for one thing", "orchestrator/governance/permits.py",
        '            return "it is for another subject"\n', "            return None\n", ("tests/unit/test_permits.py",),
    ),
    Guard(
        "a permit is used once", "orchestrator/governance/permits.py",
        '            return "it has been used"\n', "            return None\n", ("tests/unit/test_permits.py",),
    ),
    Guard(
        "the headers of a command are its caller's own", "orchestrator/governance/identities.py",
        'if identity_id != caller.owner:', "if False:", (_IDENTITIES,),
    ),
)  # fmt: skip


async def campaign(guards: tuple[Guard, ...] = GUARDS) -> Report:
    """Take each away, and see whether a test fails."""
    report = Report(f"{len(guards)} guards, each taken away in turn")
    unseen = [guard.what for guard in guards if not await _is_missed(guard)]
    report.nothing("guards that nobody missed", unseen)
    return report


async def _is_missed(guard: Guard) -> bool:
    with tempfile.TemporaryDirectory(prefix="orchestrator-guards-") as name:
        root = Path(name)
        for part in ("orchestrator", "tests", "plugins", "sandbox_images", "config"):
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "Makefile", "requirements.lock"):
            shutil.copy(ROOT / file, root / file)
        guard.take_away(root)
        words = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *guard.tests)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, cwd=root, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(root)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _LONGEST_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            return True  # it never ends without the guard
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{guard.what}: the tests did not run: {said.decode()[-2000:]}")
    return process.returncode == 1
