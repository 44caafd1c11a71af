"""The abuse corpus's reader and judge are pure: what is wrong in a file is named, and every wrong verdict is seen."""

import base64
import hashlib

import pytest

from orchestrator.contracts.executions import Artifact, Execution, SandboxFacts, Skipped, Usage
from orchestrator.sandbox.abuse import corpus
from orchestrator.sandbox.abuse.cases import Asked, Case
from orchestrator.sandbox.abuse.corpus import BadCorpus
from orchestrator.sandbox.abuse.differences import differences, refusal_differences
from orchestrator.sandbox.abuse.drill import backend, trials
from orchestrator.sandbox.settings import SandboxSettings

PLAIN = '[[case]]\nname = "a plain one"\ncode = "print(1)"\n'


def read(tmp_path, text: str) -> list[Case]:
    (tmp_path / "theme.toml").write_text(text)
    return corpus.load(tmp_path)


def fault(tmp_path, text: str) -> str:
    with pytest.raises(BadCorpus) as caught:
        read(tmp_path, text)
    return str(caught.value)


def case(**fields) -> Case:
    return Case.model_validate({"theme": "t", "name": "a case", "code": "", **fields})


def seen(**fields) -> Execution:
    where = SandboxFacts(engine="docker", runtime="runc", image="x@y")
    exit_code = 0 if fields.get("status", "ok") == "ok" else None
    return Execution(
        **{"id": "1", "status": "ok", "exit_code": exit_code, "reason": "Ended.", "sandbox": where, **fields}
    )


# ---- reading


def test_the_whole_corpus_is_read():
    cases = corpus.load()
    assert len(cases) > 1_000
    assert all(case.code is not None or case.leaves is not None or case.body is not None for case in cases)


def test_a_case_is_named_after_its_file(tmp_path):
    assert [str(found) for found in read(tmp_path, PLAIN)] == ["theme: a plain one"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "theme.toml: "),
        ("[other]\n", "theme.toml: unknown: other"),
        (PLAIN + "expects = 1\n", "theme.toml: 'a plain one': expects"),
        (PLAIN + PLAIN, "theme.toml: two cases are named 'a plain one'"),
        (PLAIN + 'like = "nobody"\n', "'a plain one' is like 'nobody', which is not there"),
        (PLAIN + 'status = "fine"\n', "'a plain one': status"),
        (PLAIN + "hits = \"wall_ms\"\n", "'a plain one': hits"),
        (PLAIN + 'status = "error"\n', "status error has an exit_code"),
        (PLAIN + 'status = "signal"\n', "status signal and a signal"),
        (PLAIN + 'status = "oom"\nexit_code = 137\n', "status oom has no exit_code"),
        (PLAIN + 'body = "{}"\n', "has exactly one of"),
        (PLAIN.replace("code", "leaves"), "leaves and finds come together"),
        (PLAIN.replace("code", "says"), "has exactly one of"),
        (PLAIN + 'not_on = { windows = "no" }\n', "'a plain one': not_on"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named_with_its_case(tmp_path, text, told):
    assert told in fault(tmp_path, text)


def test_what_cases_share_is_taken_over_and_what_they_state_holds(tmp_path):
    shared = (
        '[like.late]\nstatus = "timeout"\nhits = ["wall_ms"]\nlimits = { wall_ms = 300 }\nbefore = "import os\\n"\n'
    )
    one, two = read(
        tmp_path,
        shared + PLAIN + 'like = "late"\n' + PLAIN.replace("plain", "cpu") + 'like = "late"\nhits = ["cpu_ms"]\n',
    )
    assert (one.status, one.hits, one.limits, one.code) == (
        "timeout",
        ["wall_ms"],
        {"wall_ms": 300},
        "import os\nprint(1)",
    )
    assert (two.status, two.hits) == ("timeout", ["cpu_ms"])


def test_a_family_is_a_case_for_each_member(tmp_path):
    family = PLAIN + '[case.each]\na = { args = ["1"] }\n"b c" = { code = "2", says = "x" }\n'
    a, b = read(tmp_path, family)
    assert (a.name, a.args, a.code) == ("a plain one: a", ["1"], "print(1)")
    assert (b.name, b.args, b.code, b.says) == ("a plain one: b c", [], "2", "x")


def test_a_long_text_is_written_short(tmp_path):
    text = PLAIN.replace('"print(1)"', '{ head = "x = \'", repeat = "y", times = 3, tail = "\'" }')
    assert read(tmp_path, text)[0].code == "x = 'yyy'"


def test_a_pair_makes_two_requests_of_one_subject():
    pair = case(code=None, leaves="a", finds="b", env={"E": "1"}, leaves_with={"env": {"E": "2"}, "stdin": "s"})
    first, second = pair.request("cell", "mine", first=True), pair.request("cell", "mine")
    assert (first.code, first.env, first.stdin, first.isolation, first.subject) == (
        "a",
        {"E": "2"},
        "s",
        "cell",
        "mine",
    )
    assert (second.code, second.env, second.stdin, second.subject) == ("b", {"E": "1"}, None, "mine")


def test_a_case_asks_for_nothing_but_what_it_states():
    assert case().request("container", "mine").model_dump(exclude_defaults=True) == {"code": "", "subject": "mine"}
    assert set(Asked.model_fields) < set(Case.model_fields)


# ---- judging


def test_what_is_right_has_no_differences():
    assert differences(case(), seen()) == []


@pytest.mark.parametrize(
    ("expected", "came", "told"),
    [
        ({"status": "error", "exit_code": 3}, {}, "came ok 0, not error 3"),
        ({}, {"status": "error", "exit_code": 1}, "came error 1, not ok 0"),
        ({}, {"status": "oom", "limits_hit": ["memory_bytes"]}, "came oom (memory_bytes), not ok 0"),
        ({"status": "signal", "signal": "SIGKILL"}, {"status": "signal", "signal": "SIGTERM"}, "came signal SIGTERM, not signal SIGKILL"),
        ({"hits": ["pids"]}, {}, "came ok 0, not ok 0 (pids)"),
        ({}, {"limits_hit": ["pids"]}, "came ok 0 (pids), not ok 0"),
        ({"says": "here"}, {"stdout": "elsew"}, "did not say 'here'"),
        ({"stdout": "here"}, {"stdout": "here\n"}, "printed 'here\\n', not 'here'"),
        ({"never": ["secret"]}, {"stderr": "a secret"}, "said 'secret'"),
        ({}, {"encoding": "base64"}, "the output came as base64"),
        ({"most_ms": 100}, {"usage": Usage(wall_ms=101)}, "took 101 ms, more than 100"),
        ({}, {"reason": ""}, "the reason is no sentence"),
        ({}, {"sandbox": None}, "nobody says that there was none"),
        ({}, {"sandbox": SandboxFacts(engine="e", runtime="r", image="i", network="allowed")}, "there was a network"),
        ({}, {"stdout_truncated": True}, "stdout_truncated is True"),
        ({"hits": ["stderr_bytes"]}, {"limits_hit": ["stderr_bytes"]}, "stderr_truncated is False"),
        ({"kept_artifacts": {"a": 1}}, {}, "kept {}, not {'a': 1}"),
        ({"skipped": {"a": "symlink"}}, {"artifacts_skipped": [Skipped(path="a", reason="total")]}, "skipped {'a': 'total'}, not {'a': 'symlink'}"),
        ({"refused": [["code"]]}, {}, "it was run, and should be refused"),
    ],
)  # fmt: skip
def test_each_wrong_verdict_is_told(expected, came, told):
    assert [told in text for text in differences(case(**expected), seen(**came))] == [True]


def test_a_deadline_bounds_the_time_by_itself():
    late = case(status="timeout", hits=["wall_ms"], limits={"wall_ms": 300})
    came = seen(status="timeout", limits_hit=["wall_ms"], usage=Usage(wall_ms=299 + 500))
    assert differences(late, came) == []
    assert differences(late, came.model_copy(update={"usage": Usage(wall_ms=801)})) == ["took 801 ms, more than 800"]


def test_an_artifact_is_what_its_digest_says():
    digest = hashlib.sha256(b"x").hexdigest()
    good = Artifact(bytes=1, sha256=digest, base64=base64.b64encode(b"x").decode())
    assert differences(case(kept_artifacts={"a": 1}), seen(artifacts={"a": good})) == []
    bad = good.model_copy(update={"base64": base64.b64encode(b"y").decode()})
    assert (
        "not what its size and digest say" in differences(case(kept_artifacts={"a": 1}), seen(artifacts={"a": bad}))[0]
    )


def test_a_refusal_is_compared_by_its_places_and_its_code():
    refused = case(refused=[["env", "A"], ["args", 0]])
    assert refusal_differences(refused, [("args", 0), ("env", "A"), ("env", "A")], "invalid") == []
    assert refusal_differences(refused, [("args", 0)], "invalid")
    assert refusal_differences(refused, [("args", 0), ("env", "A")], "limit_above_profile")
    assert refusal_differences(case(), [("code",)], "invalid") == ["refused as invalid at [('code',)], not run"]


# ---- trying


def test_every_case_is_tried_in_a_cell_and_one_of_each_family_alone(tmp_path):
    family = (
        PLAIN + "[case.each]\na = {}\nb = {}\n" + PLAIN.replace("plain", "second") + 'not_on = { bubblewrap = "no" }\n'
    )
    pair = case(code=None, leaves="", finds="", name="a pair")
    cases = [*read(tmp_path, family), pair, case(name="refused", refused=[["code"]])]
    names = ["a plain one: a", "a plain one: b", "a pair", "refused"]
    usual, thorough = (trials(cases, "bubblewrap", thorough=thorough) for thorough in (False, True))
    assert [trial.case.name for trial in usual] == [*names, "a plain one: a"]
    assert [trial.case.name for trial in thorough] == [*names, "a plain one: a", "a plain one: b"]
    assert [trial.isolation for trial in thorough] == ["cell"] * 4 + ["container"] * 2
    assert len(trials(cases, "docker-runc")) == 7


def test_a_backend_is_known_by_its_engine_and_runtime():
    assert backend(SandboxSettings()) == "docker-runc"
    assert backend(SandboxSettings(runtime="runsc")) == "docker-runsc"
    assert backend(SandboxSettings(engine="bubblewrap")) == "bubblewrap"
