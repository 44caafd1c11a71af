"""Answers `generate_code` from a library of everyday programs, and runs any program for `run_code` (CONTRACT 2, R2-06).

A program is picked by the words of the text, by the caller's examples, or by both; it then runs in the sandbox on the
inputs of its checks, and *this* side compares what came out with what was expected. What was expected never goes in.
"""

import ast
import builtins
import difflib
import json
import keyword
import math
import re
import secrets
import tokenize
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.sdk import Manager, Refused, Request

FOLDER = Path(__file__).with_name("universal_developer_library")
DRIVER = (FOLDER / "driver.py").read_text(encoding="utf-8")
VOCABULARY = tomllib.loads((FOLDER / "vocabulary.toml").read_text(encoding="utf-8"))
ASKING, DENYING = (frozenset(VOCABULARY[words].split()) for words in ("asking", "denying"))
SAME: dict[str, str] = VOCABULARY["same"]
OTHER_LANGUAGE, BREEDING = (re.compile(VOCABULARY[wish], re.IGNORECASE) for wish in ("other_language", "breeding"))
CLEAR = 0.7  # a phrase that fits less well than this is no answer
MARGIN = 0.08  # by how much the best must lead the second: otherwise no guess
MOST_EXAMPLES, MOST_EXAMPLE_BYTES, DEEPEST = 32, 2**18, 64
HELP = 'Ask for one of the suggestions, or add params.examples such as [{"input": ["abc"], "output": "cba"}].'
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """The telling words of a text, and those before and after its `to`, for `celsius to kelvin` has a direction."""

    telling: frozenset[str]
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    def opposed(self, other: "Words") -> bool:
        """Whether one of the two denies something, or they name opposite directions."""
        if DENYING & (self.telling ^ other.telling):
            return True
        along = len(self.before & other.before) + len(self.after & other.after)
        return len(self.before & other.after) + len(self.after & other.before) > along


def stem(word: str) -> str:
    """A word without its commonest endings, so that `reverses`, `reversed` and `reversing` are one."""
    word = SAME.get(word, word)
    for ending, left in (("s", 3), ("ing", 4), ("ed", 4), ("er", 4), ("ie", 4), ("y", 4), ("e", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= left and not word.endswith("ss"):
            word = word.removesuffix(ending)
    return word


def read(text: str) -> Words:
    """The words of `text`, without those that only ask."""
    said: list[str] = []
    turns: list[tuple[int, bool]] = []
    for word in re.findall(r"[^\W_]+", text.casefold().replace(" or not", "")):
        if word in ("to", "into", "from"):
            turns.append((len(said), word == "from"))
        elif word not in ASKING and not word.isdigit():
            said.append(stem(word))
    at, backwards = next((t for t in sorted(turns, key=itemgetter(1)) if 0 < t[0] < len(said)), (0, False))
    first, last = frozenset(said[:at]), frozenset(said[at:])
    return Words(first | last, *((last, first) if backwards else (first, last) if at else ()))


class Check(BaseModel):
    """One call: its arguments, and the JSON value that it must return."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    input: list[Any]
    output: Any


@dataclass(frozen=True, slots=True)
class Program:
    """One program of the library; its entry point takes from `least` to `most` arguments.

    `variant_of` names the entry point of the usual program, where this one does the same in a special way.
    """

    title: str
    phrases: tuple[str, ...]
    entry_point: str
    signature: str
    code: str
    checks: tuple[Check, ...]
    least: int
    most: int
    variant_of: str = ""

    def takes(self, checks: Sequence[Check]) -> bool:
        """Whether it can be called with the number of arguments that each check has."""
        return all(self.least <= len(check.input) <= self.most for check in checks)


Ranking = list[tuple[float, Program]]  # best first, each with how well a text fits it, in [0, 1]


def load(file: Path) -> Program:
    """One file of the library. A file that is not as the others are stops the plugin, and the fault names it."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
        functions = [node for node in ast.parse(data["code"]).body if isinstance(node, ast.FunctionDef)]
        takes = next(node.args for node in functions if node.name == data["entry_point"])
        checks = tuple(Check(**check) for check in data.pop("checks"))
        phrases, most = (data["title"], *data.pop("phrases")), len(takes.args)
        return Program(phrases=phrases, checks=checks, least=most - len(takes.defaults), most=most, **data)
    except (KeyError, TypeError, ValueError, StopIteration, SyntaxError) as fault:
        raise ValueError(f"{file.name} is no library program: {fault!r}") from fault


class Library:
    """All programs, and the index of their phrases by which a text finds one. Built once, then only read."""

    def __init__(self, programs: list[Program]) -> None:
        self.programs = programs
        self._phrases = [(program, [read(phrase) for phrase in program.phrases]) for program in programs]
        users = Counter(w for _, phrases in self._phrases for w in {w for p in phrases for w in p.telling})
        self._weights = {word: math.log((len(programs) + 1) / (count + 0.5)) for word, count in users.items()}
        self._unknown = math.log(2 * (len(programs) + 1))

    def _weight(self, words: frozenset[str]) -> float:
        return math.fsum(self._weights.get(word, self._unknown) for word in words)

    def rank(self, text: str) -> Ranking:
        """All programs. A rare word counts more than a common one; words that are not in both count against it."""
        asked = read(text)
        total = self._weight(asked.telling)

        def likeness(phrase: Words) -> float:
            shared = 2 * self._weight(asked.telling & phrase.telling)
            same_way = 0.0 if phrase.opposed(asked) else 0.85 if bool(phrase.before) != bool(asked.before) else 1.0
            return same_way * shared / (total + self._weight(phrase.telling))

        found = [(max(map(likeness, phrases)), program) for program, phrases in self._phrases]
        return sorted(found, key=itemgetter(0), reverse=True)


def clear_winner(ranking: Ranking) -> Program | None:
    """The first where it fits well and leads the second, else None: no guess."""
    (score, program), second = ranking[0], ranking[1][0] if ranking[1:] else 0.0
    return program if score >= CLEAR and score - second >= MARGIN else None


def nearest(ranking: Ranking, text: str) -> list[str]:
    """Titles of the three programs that come closest, by words, or by spelling where no word is known."""
    titles = [program.title for score, program in ranking[:3] if score]
    return titles or difflib.get_close_matches(text[:200], [program.title for _, program in ranking], 3, cutoff=0.0)


def own_name(name: str) -> str:
    """`name`, if a function may be called so. Raises ValueError."""
    taken = keyword.iskeyword(name) or keyword.issoftkeyword(name) or hasattr(builtins, name) or name.startswith("__")
    if taken or not (name.isascii() and name.isidentifier()):
        raise ValueError("an ASCII identifier is needed that is no keyword, no built-in and no __name")
    return name


def shallow(value: Any, left: int = DEEPEST) -> bool:
    """Whether `value` is nested at most `left` levels deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left > 0 and all(shallow(item, left - 1) for item in inner)


def bounded(examples: list[Check]) -> list[Check]:
    """The examples, if they are JSON and not too much of it. Raises ValueError."""
    values = [[example.input, example.output] for example in examples]
    if not shallow(values):
        raise ValueError(f"nested deeper than {DEEPEST} levels")
    if len(json.dumps(values, ensure_ascii=False, allow_nan=False).encode()) > MOST_EXAMPLE_BYTES:
        raise ValueError(f"larger than {MOST_EXAMPLE_BYTES} bytes together")
    return examples


class Params(BaseModel):
    """`params` of `generate_code`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    examples: Annotated[list[Check], Field(max_length=MOST_EXAMPLES), AfterValidator(bounded)] = []
    language: str = "python"
    name: Annotated[str, Field(max_length=64), AfterValidator(own_name)] | None = None


def shown(step: str | int) -> str:
    """One step of the way to a fault, as text that any answer can carry."""
    return ascii(step).strip("'")[:80]


def read_params(given: Any) -> Params:
    """The caller's params. Raises `Refused` (`invalid`) with a place and a reason for each fault."""
    try:
        return Params.model_validate(given)
    except ValidationError as fault:
        few = fault.errors() if fault.error_count() < 20 else []  # a list of a million takes seconds
        errors = [{"loc": ["params", *map(shown, e["loc"])], "msg": e["msg"].replace("Value error, ", "")} for e in few]
        told = "; ".join(f"{'.'.join(error['loc'])}: {error['msg']}" for error in errors)
        raise Refused("invalid", told or "params: hardly any member is as it should be", errors=errors) from None


def names_in(code: str) -> list[tokenize.TokenInfo]:
    """All names and keywords of a source, in order; what stands in texts and comments is none."""
    return [
        token for token in tokenize.generate_tokens(iter(code.splitlines(True)).__next__) if token.type == tokenize.NAME
    ]


def renamed(program: Program, name: str) -> str:
    """The program's source with its entry point called `name`."""
    lines = program.code.splitlines(keepends=True)
    for token in reversed(names_in(program.code)):
        if token.string == program.entry_point:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + name + line[column + len(token.string) :]
    return "".join(lines)


def agree(expected: Any, output: Any) -> bool:
    """Whether two JSON values are the same.

    JSON has one kind of number, so 1 and 1.0 agree; true and 1 do not. Two whole numbers must be equal; else they may
    differ by a billionth of the larger, or by 1e-12 around zero. The order of an object's members is no matter.
    """
    if isinstance(expected, list) and isinstance(output, list):
        return len(expected) == len(output) and all(map(agree, expected, output))
    if isinstance(expected, dict) and isinstance(output, dict):
        return expected.keys() == output.keys() and all(agree(value, output[key]) for key, value in expected.items())
    kinds = {type(expected), type(output)}
    if kinds in ({float}, {int, float}):
        try:
            return math.isclose(expected, output, rel_tol=1e-9, abs_tol=1e-12)
        except OverflowError:  # a whole number that is larger than any float
            return False
    return len(kinds) == 1 and bool(expected == output)


@dataclass(frozen=True, slots=True)
class Trial:
    """One program that ran: how well the text fitted it, its source as it ran, and what its checks showed."""

    score: float
    program: Program
    source: str
    entry_point: str
    checks: list[Json]

    @property
    def passed(self) -> bool:
        return all(check["ok"] for check in self.checks)


def row(check: Check, outcome: Json) -> Json:
    """How a check went, as CONTRACT 2 has it; `error` says why there is no output."""
    ok = "error" not in outcome and agree(check.output, outcome["output"])
    return {"input": check.input, "expected": check.output, "output": None, "ok": ok, **outcome}


def outcomes_in(execution: Json, nonce: str, programs: int, calls: int) -> list[list[Json]]:
    """What the driver reported, for each program and call; where the run did not come to that, why, for all of them."""
    _, found, report = execution["stdout"].rpartition("\n" + nonce)
    if execution["status"] == "ok" and found and not execution["stdout_truncated"]:
        outcomes: list[list[Json]] = json.loads(report)
        return outcomes
    why = f"{execution['status']}: {execution['reason'] or 'the run did not come to its end'}"
    return [[{"error": why}] * calls] * programs


async def run_trials(candidates: Ranking, checks: Sequence[Check], name: str | None) -> tuple[list[Trial], Json]:
    """Run all candidates on the inputs of the checks, in one execution; also that execution's record."""
    nonce, named = secrets.token_hex(16), [(program, name or program.entry_point) for _, program in candidates]
    programs = [{"source": renamed(program, own), "entry_point": own} for program, own in named]
    task = {"nonce": nonce, "programs": programs, "inputs": [check.input for check in checks]}
    execution = dict(await MANAGER.sandbox.run(DRIVER, stdin=json.dumps(task)))
    outcomes = outcomes_in(execution, nonce, len(programs), len(checks))
    rows = [list(map(row, checks, mine)) for mine in outcomes]
    ran = zip(candidates, programs, rows, strict=True)
    return [Trial(score, program, **sent, checks=mine) for (score, program), sent, mine in ran], execution


def candidates_for(ranking: Ranking, text: str, examples: Sequence[Check]) -> Ranking:
    """What to try: the clear winner by words, and with examples all that take such inputs. Raises `Refused`."""
    clear = clear_winner(ranking)
    found = [(s, p) for s, p in ranking if p is clear or (examples and p.takes(examples))]
    if found:
        return found
    if BREEDING.search(text) and not examples:
        raise Refused("no_route", "Nothing here evolves or improves programs; generate_code gives those it knows.")
    detail = "No program of the library clearly fits this text." if not examples else "No program takes such inputs."
    raise Refused("cannot_generate", detail, suggestions=nearest(ranking, text), help=HELP)


def without_clashes(candidates: Ranking, name: str | None, clear: Program | None) -> Ranking:
    """The candidates whose source does not yet use `name`. Raises `Refused` where the wanted one, or each one, does."""
    clashing = [p for _, p in candidates if name != p.entry_point and any(t.string == name for t in names_in(p.code))]
    if clear in clashing or len(clashing) == len(candidates):
        raise Refused("invalid", f"params.name: “{clashing[0].title}” already uses {name} inside; choose another name")
    return [(score, program) for score, program in candidates if program not in clashing]


def unmistakable(passed: list[Trial]) -> Trial | None:
    """The one of the programs that satisfy the examples which is meant, or None where that is open.

    A special way of doing what another does too steps back. Of several, words must lead to one. Where no word does, one
    truth value, digit or empty list as the only answer could be chance.
    """
    there = {trial.program.entry_point for trial in passed}
    meant = [trial for trial in passed if trial.program.variant_of not in there]
    if len(meant) != 1:
        return meant[0] if meant and meant[0].score - meant[1].score >= MARGIN else None
    answers = {str(check["expected"]) for check in meant[0].checks}
    chance = len(answers) == 1 and all(len(told) < 3 or told in ("True", "False", "None") for told in answers)
    return meant[0] if meant[0].score > 0 or not chance else None


def decided(trials: list[Trial], clear: Program | None, text: str, execution: Json) -> Trial:
    """The program that the examples choose: the clear winner by words if it satisfies them, else the one that does, and
    where none does the clear winner with the checks that it failed. Raises `Refused` where they leave it open."""
    passed = [trial for trial in trials if trial.passed]
    by_words = next((trial for trial in trials if trial.program is clear and (trial.passed or not passed)), None)
    if chosen := by_words or unmistakable(passed):
        return chosen
    none = f"The programs could not be tried to the end, {execution['status']}: {execution['reason']}"
    none = "No program gives these outputs." if execution["status"] == "ok" else none
    detail = "The examples leave open which program is meant." if passed else none
    close = [trial.program.title for trial in passed] or nearest([(t.score, t.program) for t in trials], text)
    raise Refused("cannot_generate", detail, suggestions=close[:10], help=HELP)


def answered(text: str, trial: Trial, execution: Json) -> Json:
    """The response that CONTRACT 2 describes.

    `tokens.estimated` is what a model would have read and written for it, at the usual four characters a token; none
    ran, so `actual` is 0 and all of it is saved.
    """
    estimated = math.ceil((len(text) + len(trial.source)) / 4)
    return {
        "title": trial.program.title, "code": trial.source, "language": "python", "entry_point": trial.entry_point,
        "source": "library", "verified": trial.passed and execution["status"] == "ok", "checks": trial.checks,
        "execution": execution, "tokens": {"estimated": estimated, "actual": 0, "saved": estimated},
    }  # fmt: skip


async def generate_code(text: str, given: Any) -> Json:
    """Pick, run, compare, answer. Raises `Refused`: `invalid` for wrong params, `cannot_generate` if nothing fits."""
    params = read_params(given)
    examples, named = params.examples, OTHER_LANGUAGE.search(text)
    if params.language.casefold() not in ("python", "python3", "py") or named:
        raise Refused("cannot_generate", "All programs of the library are in Python.", help="Ask for python.")
    ranking = library.rank(text)
    clear = clear_winner(ranking)
    candidates = without_clashes(candidates_for(ranking, text, examples), params.name, clear)
    trials, execution = await run_trials(candidates, examples or candidates[0][1].checks, params.name)
    return answered(text, decided(trials, clear, text, execution) if examples else trials[0], execution)


async def run_code(params: Json) -> Json:
    """Run the caller's own program; the response is the execution, and the sandbox judges its members (CONTRACT 4)."""
    if "code" not in params or "self" in params:
        raise Refused("invalid", "params: exactly the members of POST /v1/sandbox/executions, and code among them")
    return dict(await MANAGER.sandbox.run(**params))


library = Library([load(file) for file in sorted((FOLDER / "programs").glob("*.toml"))])
MANAGER: Manager

PLUGIN = {
    "version": "1.0.0",
    "description": "Writes everyday Python programs and shows that they work; runs yours in the sandbox.",
    "intents": ["generate_code", "run_code"],
    "keywords": [*VOCABULARY["code_words"].split(), *(program.title for program in library.programs)],
    "examples": ["write a function to reverse a string", "python code for the fibonacci sequence", "sort a list"],
}  # fmt: skip


def init(manager: Manager) -> None:
    """Keep the way to the sandbox."""
    global MANAGER
    MANAGER = manager


async def handle(request: Request) -> Json:
    """Answer one query; without an intent it asks for code."""
    intent, params = request.get("intent") or "generate_code", dict(request.get("params") or {})
    if intent not in PLUGIN["intents"]:
        raise Refused("invalid", f"intent: universal_developer has {' and '.join(PLUGIN['intents'])}")
    return await (run_code(params) if intent == "run_code" else generate_code(request["text"], params))
