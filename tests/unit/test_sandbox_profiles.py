"""Profiles are folders: what a manifest may say, which profile serves, what is told of it (CONTRACT 1, 4)."""

from pathlib import Path

import pytest

from orchestrator.contracts.errors import StartRefused
from orchestrator.contracts.executions import Outcome
from orchestrator.sandbox import hints, profiles, views
from orchestrator.sandbox.backends.port import Facts
from orchestrator.sandbox.rootfs import stand_in

IMAGES = Path(__file__).parents[2] / "sandbox_images"
KNOWN = profiles.load(IMAGES)
LIMITS = "[limits.maximum]\nwall_ms = 20_000\n"


def loaded(folder: Path, **manifests: str) -> dict[str, profiles.Profile]:
    for name, text in manifests.items():
        (folder / name).mkdir()
        (folder / name / "manifest.toml").write_text(f'{text}\npackages = ["python3"]\n{LIMITS}')
    return profiles.load(folder)


def test_the_shipped_profiles_are_the_contracts():
    """CONTRACT 4: the table of limits, and `python javascript shell` at M2; science goes to 1 GiB, 120 s, 256 MiB."""
    assert {name: p.manifest.language for name, p in KNOWN.items()} == {
        "default": "python", "javascript": "javascript", "science": "python", "shell": "shell",
    }  # fmt: skip
    science, default = KNOWN["science"].manifest.limits.maximum, KNOWN["default"].manifest.limits
    assert (science.memory_bytes, science.wall_ms, science.cpu_ms, science.disk_bytes) == (
        2**30,
        120_000,
        120_000,
        2**28,
    )
    assert (default.default.artifact_bytes, default.default.artifacts) == (8 * 2**20, 64)
    assert (default.maximum.artifact_bytes, default.maximum.artifacts) == (64 * 2**20, 256)
    assert {name for name, p in KNOWN.items() if p.manifest.sessions} == {"default", "science"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('language = "ruby"', "has a command"),
        ('language = "python"\ncommand = ["/usr/bin/python3"]', "has none"),
        ('language = "ruby"\ncommand = ["ruby"]', "absolute path"),
        ('language = "ruby"\ncommand = ["/usr/bin/ruby"]\nsessions = true', "python alone"),
        ('language = "ruby"\ncommand = ["/usr/bin/ruby"]\nmodules = ["rake"]', "python alone"),
        ('language = "ruby"\ncommand = ["/usr/bin/ruby"]\nprogram = "../main.rb"', "program"),
        ('language = "python"\nwithout = ["--x"]', "without"),
        ('language = "python"\ninterpreter = "/usr/bin/python3"', "interpreter"),
        ('language = "python"\n[env]\nA = 1\n[x]', "env.A"),
    ],
)
def test_a_manifest_that_could_not_run_is_named(tmp_path, text, told):
    with pytest.raises(StartRefused, match=rf"one/manifest\.toml is wrong: .*{told}"):
        loaded(tmp_path, one=text)


def test_the_profile_of_a_language_is_default_then_its_namesake_then_the_first(tmp_path):
    ruby = 'language = "ruby"\ncommand = ["/usr/bin/ruby"]'
    known = loaded(
        tmp_path,
        default='language = "python"',
        b='language = "python"',
        ruby=ruby,
        a=ruby,
        z='language = "c"\ncommand = ["/x"]',
    )
    assert [getattr(profiles.of_language(known, name), "name", None) for name in ("python", "ruby", "c", "go")] == [
        "default",
        "ruby",
        "z",
        None,
    ]


def test_what_is_left_out_stands_in_the_status_as_there():
    """So apt fetches neither it nor what only it needs."""
    assert stand_in([]) == ""
    entry = stand_in(["a", "b"])
    assert "Status: install ok installed\n" in entry
    assert "Provides: a (= 99:0), b (= 99:0)\n\n" in entry


MISSED = "Traceback (most recent call last):\n  File \"/program/main.py\", line 1, in <module>\n    import x\nModuleNotFoundError: No module named '{}'\n"


def hinted(stderr: str, ran_on: str = "default", **told):
    outcome = Outcome.model_validate({"status": "error", "exit_code": 1, "reason": "Why.", "stderr": stderr, **told})
    return hints.add(outcome, KNOWN[ran_on], KNOWN)


@pytest.mark.parametrize(
    ("missed", "module"), [("numpy", "numpy"), ("sklearn.linear_model", "sklearn"), ("PIL", "PIL")]
)
def test_a_missing_module_carries_the_profile_that_has_it(missed, module):
    """The issue's words: `ModuleNotFoundError` in a result carries the profile that has the module."""
    outcome = hinted(MISSED.format(missed))
    assert outcome.hint is not None
    assert (outcome.hint.module, outcome.hint.profile) == (module, "science")
    assert outcome.reason == f"Why. The profile science has the module {module}."


@pytest.mark.parametrize(
    "asked",
    [
        {"stderr": MISSED.format("nobody_has_this")},
        {"stderr": MISSED.format("numpy"), "ran_on": "science"},
        {"stderr": MISSED.format("numpy"), "ran_on": "javascript"},
        {"stderr": MISSED.format("numpy"), "status": "ok", "exit_code": 0},
        {"stderr": MISSED.format("numpy"), "status": "timeout", "exit_code": None},
        {"stderr": MISSED.format("numpy"), "stderr_truncated": True},
        {"stderr": MISSED.format("numpy"), "encoding": "base64"},
        {"stderr": MISSED.format("numpy") + "and then more"},
        {"stderr": "caught: " + MISSED.format("numpy").splitlines()[-1]},
        {"stderr": "ModuleNotFoundError: No module named ''"},
        {"stderr": ""},
        {"stderr": "x" * 2**23},
    ],
)
def test_without_one_there_is_no_hint(asked):
    outcome = hinted(**asked)
    assert (outcome.hint, outcome.reason) == (None, "Why.")


def test_a_profile_is_told_with_what_the_engine_has_of_it():
    """CONTRACT 1: language, package versions, default and maximum limits, image id, kernel boundary."""
    facts = Facts("docker", "runc", "key", {"shell": "name@sha256:1"}, packages={"shell": {"bash": "5.2", "jq": "1.6"}})
    told = {view.name: view for view in views.of_profiles(KNOWN, "shared", facts)}
    assert list(told) == sorted(KNOWN)
    shell, science = told["shell"], told["science"]
    assert (shell.available, shell.image, shell.packages) == (True, "name@sha256:1", {"bash": "5.2", "jq": "1.6"})
    assert (shell.language, shell.kernel_boundary, shell.sessions) == ("shell", "shared", False)
    assert (science.available, science.image, science.packages["python3-numpy"]) == (False, None, None)
    assert "numpy" in science.modules
    assert science.maximum == KNOWN["science"].manifest.limits.maximum
    assert not any(view.available for view in views.of_profiles(KNOWN, "shared", None))
    assert {view.kernel_boundary for view in views.of_profiles(KNOWN, "separate", None)} == {"separate"}
