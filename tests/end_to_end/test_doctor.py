"""`replay doctor` and `replay completion`: what a new installation is asked first."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from replay.cli import main
from replay.commands import doctor
from replay.sources import adapter_names
from tests.cache.redis_server import RedisServer


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Redis in the environment."""
    monkeypatch.delenv("REDIS_URL", raising=False)


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    """What the doctor found, by name."""
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"ok", "findings"}
    assert all(set(finding) == {"name", "state", "found", "hint"} for finding in told["findings"])
    return {finding["name"]: finding for finding in told["findings"]}


def test_a_whole_installation_is_healthy(quiet: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = findings(capsys)
    for name in ("python", "numpy", "numba", "llvmlite", "pyarrow", "redis", "cores", "memory", "cache", "time zone"):
        assert found[name]["state"] == "ok", found[name]
    assert {f"adapter {name}" for name in adapter_names()} <= set(found)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "everything that is needed is here" in shown and "✗" not in shown


def test_a_redis_that_does_not_answer_is_told_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--redis", "redis://:secret@127.0.0.1:1/0"]) == 1
    found = findings(capsys)["redis server"]
    assert found["state"] == "bad" and found["found"].startswith("127.0.0.1:1/0") and found["hint"]
    assert "secret" not in str(found)


def test_a_redis_that_answers_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        assert main(["doctor", "--json", "--redis", server.url]) == 0
    finally:
        server.stop()
    assert findings(capsys)["redis server"]["state"] == "ok"


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = doctor.cache(tmp_path / "file" / "cache")
    assert found.state == "bad" and "REPLAY_CACHE_DIR" in found.hint


def test_an_adapter_that_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module:X", "replay.adapters")
    monkeypatch.setattr(doctor, "entry_points", lambda group: [broken])
    found = list(doctor.plugins())
    assert [finding.state for finding in found] == ["bad", "bad"] and "no_such_module" in found[0].found


def test_a_missing_package_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["no-such-package-here>=2", "other; extra == 'dev'"])
    found = {finding.name: finding for finding in doctor.packages()}
    assert found["no-such-package-here"].state == "bad"
    assert found["no-such-package-here"].hint == "pip install no-such-package-here"
    assert "other" not in found


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `replay completion bash` prints, as a file."""
    path = tmp_path_factory.mktemp("completion") / "replay.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    yield path


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["replay", "ver"], ["verify"]),
        (["replay", "run", "--lat"], ["--latency"]),
        (["replay", "verify", "--adapter", "binance-us"], ["binance-usdm"]),
        (["replay", "completion", "z"], ["zsh"]),
        (["replay", "verify", "some"], ["something.gz"]),
    ],
)
def test_bash_completes(words: list[str], completed: list[str], bash_script: Path, tmp_path: Path) -> None:
    (tmp_path / "something.gz").write_text("")
    line = " ".join(words)
    script = (
        f"source {bash_script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'\n"
        '_shtab_replay; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False
    )
    assert done.returncode == 0 and done.stderr == ""
    assert [word.strip() for word in done.stdout.splitlines()] == completed


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    shown = capsys.readouterr().out
    assert "verify" in shown and "binance-usdm" in shown
