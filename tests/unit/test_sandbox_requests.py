"""Admission is pure, and tells every fault at once (CONTRACT 4)."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.contracts.errors import Invalid
from orchestrator.contracts.executions import ExecutionRequest, LimitsRequest
from orchestrator.sandbox import profiles
from orchestrator.sandbox.frames import Role
from orchestrator.sandbox.requests import admit

PROFILES = profiles.load(Path(__file__).parents[2] / "sandbox_images")
MIB = 2**20
SHELL = ["/usr/bin/env", "--default-signal=PIPE,XFSZ", "/bin/bash", "/program/main.sh"]


def judged(**fields):
    return admit(ExecutionRequest.model_validate({"code": "", **fields}), PROFILES)


def faults(**fields) -> tuple[str, list[list[str | int]]]:
    with pytest.raises(Invalid) as caught:
        judged(**fields)
    assert all(error["msg"] for error in caught.value.errors)
    return caught.value.code, [error["loc"] for error in caught.value.errors]


def test_defaults_hold_where_nothing_is_stated():
    limits = judged().cases[0].limits
    assert (limits.wall_ms, limits.memory_bytes, limits.pids, limits.disk_bytes) == (10_000, 128 * MIB, 64, 32 * MIB)


def test_what_is_stated_holds():
    limits = judged(limits={"wall_ms": 60_000, "memory_bytes": 512 * MIB, "stdout_bytes": 1}).cases[0].limits
    assert (limits.wall_ms, limits.memory_bytes, limits.stdout_bytes, limits.cpu_ms) == (60_000, 512 * MIB, 1, 10_000)


@pytest.mark.parametrize(
    "limit",
    [
        ("wall_ms", 60_001), ("cpu_ms", 60_001), ("memory_bytes", 512 * MIB + 1), ("pids", 257), ("inodes", 16_385),
        ("open_files", 1_025), ("stdout_bytes", 8 * MIB + 1), ("stderr_bytes", 8 * MIB + 1),
    ],
)  # fmt: skip
def test_a_limit_above_the_profiles_has_its_own_code(limit):
    assert faults(limits=dict([limit])) == ("limit_above_profile", [["limits", limit[0]]])


@pytest.mark.parametrize(
    "limit", [("wall_ms", 0), ("pids", -1), ("memory_bytes", 1), ("inodes", 0), ("stdout_bytes", 0)]
)
def test_a_limit_that_is_none_is_refused(limit):
    """By the model itself, together with what is of another type or unknown."""
    with pytest.raises(ValidationError) as caught:
        LimitsRequest.model_validate(dict([limit]))
    assert [fault["loc"] for fault in caught.value.errors()] == [(limit[0],)]


def test_a_disk_above_the_memory_is_refused():
    assert faults(limits={"disk_bytes": 64 * MIB, "memory_bytes": 32 * MIB}) == ("invalid", [["limits", "disk_bytes"]])


def test_a_default_disk_follows_a_smaller_memory():
    assert judged(limits={"memory_bytes": 16 * MIB}).cases[0].limits.disk_bytes == 16 * MIB


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "PYTHON", "NODE_OPTIONS", "BASH_ENV", "ENV",
        "BASH_FUNC_x%%", "GLIBC_TUNABLES", "IFS", "", "A=B", "A\0", "A\n", "\x7f",
    ],
)  # fmt: skip
def test_a_name_that_steers_or_is_none_is_refused(name):
    """CONTRACT 4: loader and interpreter are not steered."""
    code, found = faults(env={name: "x"})
    assert (code, found[0]) == ("invalid", ["env", name])


def test_ordinary_names_and_odd_values_pass():
    judged(env={"HOME": "/x", "A.B-c": "line\nbreak", "LDX": "1", "NODE_ENV": "test"}, args=["", "--x", "\n"])


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "../a",
        "a/../b",
        "..",
        ".",
        "./a",
        "a//b",
        "a/",
        "a\0b",
        "n" * 256,
        "d/" * 64 + "f",
        "/".join(["n" * 250] * 5),
        "\u20ac" * 86,
        "a/" * 2**20,
    ],
)
def test_a_path_that_leads_out_or_nowhere_is_refused(path):
    assert faults(files={path: ""}) == ("invalid", [["files", path]])


@pytest.mark.parametrize(
    "path", ["a", ".hidden", "...", "a b", "a\nb", "\u202egnp.exe", "n" * 255, "d/" * 63 + "f", "a\\b", "~"]
)
def test_odd_paths_pass(path):
    assert judged(files={path: "x"}).cases[0].parts == [(Role.PROGRAM, "main.py", b""), (Role.FILE, path, b"x")]


def test_a_file_where_a_folder_is_needed_is_refused():
    assert faults(files={"a/b/c": "", "a": "", "a/b": ""}) == ("invalid", [["files", "a"], ["files", "a/b"]])


def test_case_twins_are_two_files():
    assert len(judged(files={"A": "", "a": ""}).cases[0].parts) == 3


@pytest.mark.parametrize("text", ["!", "YQ", "YQ==\n", "Y Q=="])
def test_base64_that_is_none_is_refused(text):
    assert faults(files={"a": {"base64": text}}, stdin={"base64": text}) == ("invalid", [["stdin"], ["files", "a"]])


def test_files_are_counted_as_the_kernel_counts():
    """Whole pages, one inode for each file and folder, three that are there before."""
    limits = {"disk_bytes": 8_192, "inodes": 16}
    judged(files={"a": "x" * 4_096, "b": "y"}, limits=limits)
    assert faults(files={"a": "x" * 4_097, "b": "y"}, limits=limits) == ("invalid", [["files"]])
    judged(files={f"d/{i}": "" for i in range(12)}, limits=limits)
    assert faults(files={f"d/{i}": "" for i in range(13)}, limits=limits) == ("invalid", [["files"]])


def test_all_faults_are_told_at_once():
    """CONTRACT 1: `errors` lists them all; the code is narrower only where all agree."""
    wrong = {
        "language": "javascript", "profile": "default", "args": ["a\0"], "env": {"LD_X": ""}, "files": {"/a": ""}, "stdin": {"base64": "!"},
        "limits": {"pids": 1_000, "wall_ms": 90_000},
    }  # fmt: skip
    code, found = faults(**wrong)
    assert code == "invalid"
    assert sorted(map(str, found)) == sorted(
        map(
            str,
            [
                ["args", 0],
                ["env", "LD_X"],
                ["stdin"],
                ["files", "/a"],
                ["language"],
                ["limits", "pids"],
                ["limits", "wall_ms"],
            ],
        )
    )


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ({}, ("python", "default", "main.py", [])),
        ({"language": "python"}, ("python", "default", "main.py", [])),
        ({"profile": "science"}, ("python", "science", "main.py", [])),
        ({"language": "shell"}, ("shell", "shell", "main.sh", SHELL)),
        ({"profile": "shell"}, ("shell", "shell", "main.sh", SHELL)),
    ],
)  # fmt: skip
def test_a_language_has_a_profile_and_a_profile_a_language(asked, served):
    """CONTRACT 4: languages are read from the image folders; what is left out follows from what is named."""
    admitted = judged(**asked)
    (case,) = admitted.cases
    name = next(name for role, name, _ in case.parts if role is Role.PROGRAM)
    assert (admitted.request.language, admitted.request.profile, name, case.command) == served
    assert admitted.profile.name == served[1]


@pytest.mark.parametrize(
    ("asked", "loc", "told"),
    [
        ({"language": "cobol"}, "language", "there are javascript, python, shell"),
        ({"profile": "fortran"}, "profile", "there are default, javascript, science, shell"),
        ({"language": "javascript", "profile": "default"}, "language", "the profile default runs python"),
    ],
)
def test_what_no_folder_stands_for_is_told_with_what_there_is(asked, loc, told):
    """CONTRACT 4: code of another language and an unknown profile are 422."""
    with pytest.raises(Invalid, match=told) as caught:
        judged(**asked)
    assert [error["loc"] for error in caught.value.errors] == [[loc]]


def test_a_profiles_environment_is_there_and_a_requests_own_wins():
    found = judged(profile="science", env={"OMP_NUM_THREADS": "4"}).cases[0].env
    assert (found["MPLBACKEND"], found["OMP_NUM_THREADS"], found["HOME"]) == ("Agg", "4", "/box/work")


def test_strings_that_no_kernel_takes_are_refused():
    assert faults(args=["x" * 2**17 + "x"])[1] == [["args", 0]]
    assert faults(env={"A": "x" * 2**17})[1] == [["env", "A"]]
    assert faults(args=["x" * 2**17] * 9)[1] == [["args"]]


def test_a_program_is_bounded_in_bytes():
    judged(code="x" * 2**24)
    assert faults(code="\u20ac" * 2**23)[1] == [["code"]]


def test_a_request_that_its_memory_cannot_hold_is_refused():
    """A worker that can hardly hold its job would sooner crawl than die, so it is not begun."""
    limits = {"memory_bytes": 16 * MIB}
    judged(code="x" * (4 * MIB), limits=limits)
    assert faults(code="x" * (2 * MIB), stdin="y" * (2 * MIB + 1), limits=limits) == (
        "invalid",
        [["limits", "memory_bytes"]],
    )


def test_cases_share_the_program_and_say_what_differs():
    """CONTRACT 4 `cases`: files are merged, arguments and input replaced, limits laid over."""
    request = {"files": {"a": "1", "b": "2"}, "args": ["x"], "stdin": "common", "limits": {"wall_ms": 1_000, "pids": 9}}
    cases = [{}, {"files": {"b": "3"}, "args": [], "stdin": "", "limits": {"wall_ms": 500}, "expected_stdout": "!"}]
    plain, own = judged(**request, cases=cases).cases
    assert plain.parts[1:] == [(Role.STDIN, "", b"common"), (Role.FILE, "a", b"1"), (Role.FILE, "b", b"2")]
    assert own.parts[1:] == [(Role.STDIN, "", b""), (Role.FILE, "a", b"1"), (Role.FILE, "b", b"3")]
    assert [(c.args, c.limits.wall_ms, c.limits.pids, c.expected_stdout) for c in (plain, own)] == [
        (["x"], 1_000, 9, None), ([], 500, 9, "!"),
    ]  # fmt: skip


def test_what_is_wrong_in_a_case_is_told_there():
    wrong = {
        "files": {"/a": "", "a": {"base64": "!"}},
        "args": ["\0"],
        "stdin": {"base64": "?"},
        "limits": {"pids": 9_999},
    }
    assert sorted(faults(cases=[{}, wrong])[1]) == sorted(
        ["cases", 1, *loc] for loc in (["files", "/a"], ["files", "a"], ["args", 0], ["stdin"], ["limits", "pids"])
    )
    assert faults(cases=[{}, {"limits": {"pids": 9_999}}])[1] == [["cases", 1, "limits", "pids"]]
    assert faults(files={"/a": ""}, cases=[{}, {}])[1] == [["files", "/a"]]
    assert faults(files={"a": ""}, cases=[{}, {"files": {"a/b": ""}}])[1] == [["cases", 1, "files", "a"]]


def test_a_glob_that_would_take_long_is_refused():
    assert faults(artifacts=["a/**/b", "/".join(["**"] * 60), "**/a/" * 5]) == ("invalid", [["artifacts", 2]])
