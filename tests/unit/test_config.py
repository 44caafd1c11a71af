"""Configuration: precedence, origins, and all faults told at once with their places."""

from pathlib import Path

import pytest

from orchestrator.config import render, sources
from orchestrator.config.load import BadConfiguration, Configuration, judge
from orchestrator.config.places import ROOT, places


def load(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None, **flags: object) -> Configuration:
    file = tmp_path / "o.toml"
    file.write_text(text)
    return judge(sources.gather([file], environ or {}, flags))


def faults(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        load(tmp_path, text, environ)
    return caught.value.faults


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    text, env = "[api]\nport = 1111\n", {"ORCHESTRATOR_API__PORT": "2222"}
    assert load(tmp_path).settings.api.port == 8000
    assert load(tmp_path, text).settings.api.port == 1111
    assert load(tmp_path, text, env).settings.api.port == 2222
    assert load(tmp_path, text, env, **{"api.port": 3333}).settings.api.port == 3333


def test_a_later_file_wins(tmp_path: Path) -> None:
    weak, strong = tmp_path / "a.toml", tmp_path / "b.toml"
    weak.write_text("[api]\nport = 1\nhost = 'localhost'\n")
    strong.write_text("[api]\nport = 2\n")
    found = judge(sources.gather([weak, strong], {}, {}))
    assert (found.settings.api.port, found.settings.api.host) == (2, "localhost")
    assert found.origin(("api", "host")) == f"{weak}:3"


def test_each_value_knows_where_it_came_from(tmp_path: Path) -> None:
    found = load(tmp_path, "# a comment\n[api]\n\nport = 1111\n", {"ORCHESTRATOR_LOGS__LEVEL": "debug"}, dev=False)
    assert found.origin(("api", "port")) == f"{tmp_path / 'o.toml'}:4"
    assert found.origin(("logs", "level")) == "environment ORCHESTRATOR_LOGS__LEVEL"
    assert found.origin(("dev",)) == "flag --dev"
    assert found.origin(("api", "host")) == "default"


def test_all_faults_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    text = "[api]\nprot = 1\nport = 'x'\n[storage]\nreaders = 0\n"
    found = faults(tmp_path, text, {"ORCHESTRATOR_LOGS__LEVEL": "loud"})
    assert len(found) == 4
    told = "\n".join(found)
    assert "o.toml:2: api.prot: there is no such setting; did you mean port?" in told
    assert "o.toml:3: api.port" in told
    assert "o.toml:5: storage.readers" in told
    assert "environment ORCHESTRATOR_LOGS__LEVEL: logs.level" in told


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    assert "o.toml: " in faults(tmp_path, "[api\nport = 1")[0]
    assert "line 1" in faults(tmp_path, "[api\nport = 1")[0]


def test_a_missing_named_file_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cannot be read: No such file"):
        judge(sources.gather([tmp_path / "none.toml"], {}, {}))


def test_listening_beyond_loopback_needs_keys(tmp_path: Path) -> None:
    """CONTRACT 1: it refuses to start unless keys are required."""
    assert "governance.require_key" in faults(tmp_path, '[api]\nhost = "0.0.0.0"\n')[0]
    text = '[api]\nhost = "0.0.0.0"\n[governance]\nrequire_key = true\n'
    assert load(tmp_path, text).settings.api.host == "0.0.0.0"


def test_development_mode_is_for_loopback(tmp_path: Path) -> None:
    """R2-09."""
    text = 'dev = true\n[api]\nhost = "10.0.0.1"\n[governance]\nrequire_key = true\n'
    assert "loopback only" in faults(tmp_path, text)[0]


def test_bubblewrap_is_for_development_mode_without_a_network(tmp_path: Path) -> None:
    """CONTRACT 4: 002's local fallback; a daemon elsewhere refuses to start with it."""
    engine = '[sandbox]\nengine = "bubblewrap"\n'
    assert "sandbox.engine: bubblewrap is for development mode only" in faults(tmp_path, engine)[0]
    assert "no network to give" in faults(tmp_path, f"dev = true\n{engine}allow_network = true\n")[0]
    assert load(tmp_path, f"dev = true\n{engine}").settings.sandbox.engine == "bubblewrap"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("ORCHESTRATOR_API__HOST", "localhost", "localhost"), ("ORCHESTRATOR_DEV", "true", True),
        ("ORCHESTRATOR_API__ALLOWED_HOSTS", '["a", "b"]', ["a", "b"]),
    ],
)  # fmt: skip
def test_environment_values_take_the_type_of_their_setting(
    tmp_path: Path, name: str, value: str, wanted: object
) -> None:
    where = tuple(name.removeprefix("ORCHESTRATOR_").lower().split("__"))
    found: object = load(tmp_path, environ={name: value}).settings
    for part in where:
        found = getattr(found, part)
    assert found == wanted


def test_other_variables_of_the_command_line_are_no_settings(tmp_path: Path) -> None:
    load(tmp_path, environ={"ORCHESTRATOR_URL": "http://x", "ORCHESTRATOR_STATE_DIR": "/s"})


def test_a_credential_of_the_service_manager_is_a_setting_over_files_and_under_the_environment(tmp_path: Path) -> None:
    """A secret that systemd lends stands in no file that others read."""
    lent = tmp_path / "credentials"
    lent.mkdir()
    (lent / "orchestrator.api.port").write_text("2222\n")
    (lent / "somebody.elses").write_text("x")
    environ = {"CREDENTIALS_DIRECTORY": str(lent)}
    found = load(tmp_path, "[api]\nport = 1111\n", environ)
    assert (found.settings.api.port, found.origin(("api", "port"))) == (2222, "credential orchestrator.api.port")
    assert load(tmp_path, "", {**environ, "ORCHESTRATOR_API__PORT": "3333"}).settings.api.port == 3333
    (lent / "orchestrator.api.prot").write_text("1")
    assert faults(tmp_path, "", environ) == [
        "credential orchestrator.api.prot: api.prot: there is no such setting; did you mean port?"
    ]
    (lent / "orchestrator.api.prot").write_bytes(b"\xff")
    assert faults(tmp_path, "", environ) == ["credential orchestrator.api.prot: cannot be read"]


def test_the_stores_address_is_shown_to_nobody_for_a_password_is_in_it(tmp_path: Path) -> None:
    found = load(tmp_path, '[storage]\nurl = "postgresql://me:t0p@host/base"\n')
    assert found.settings.storage.url.get_secret_value() == "postgresql://me:t0p@host/base"
    assert "t0p" not in repr([*render.effective(found), found.settings])
    (told,) = faults(tmp_path, '[storage]\nurl = "mysql://me:t0p@host/base"\n')
    assert "o.toml:2: storage.url: " in told
    assert "begins with postgresql://" in told
    assert "t0p" not in told


def test_plugin_settings_pass_through_and_their_secrets_are_not_shown(tmp_path: Path) -> None:
    found = load(tmp_path, '[plugins.mail]\nserver = "s"\napi_token = "t0p"\n')
    assert found.settings.plugins["mail"]["api_token"] == "t0p"
    shown = {name: value for name, value, _ in render.effective(found)}
    assert shown["plugins.mail.server"] == "s"
    assert "t0p" not in shown["plugins.mail.api_token"]


def test_the_reference_file_is_in_step_with_the_models() -> None:
    assert (ROOT / "config" / "orchestrator.toml").read_text() == render.reference()


def test_the_reference_file_with_every_line_taken_in_is_the_default(tmp_path: Path) -> None:
    lines = render.reference().splitlines()
    taken = [line.removeprefix("# ") if " = " in line and not line.endswith("# not set") else line for line in lines]
    assert load(tmp_path, "\n".join(taken)).settings == load(tmp_path).settings


def test_the_state_directory_is_found_in_order(tmp_path: Path) -> None:
    env = {"STATE_DIRECTORY": "/var/lib/o:/x", "ORCHESTRATOR_STATE_DIR": "/elsewhere"}
    assert places(tmp_path, [], env).state == tmp_path
    assert places(None, [], env).state == Path("/var/lib/o")
    del env["STATE_DIRECTORY"]
    assert places(None, [], env).state == Path("/elsewhere")
    assert places(None, [], {}).state == ROOT / "state"
