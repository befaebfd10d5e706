"""Holes refetched and blocks cached by arguments of the command line: the same results, and counts of what was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.binance import USDM
from replay.cli import main
from replay.store import Store
from tests.adapters.relay_server import KEY, RelayServer, serving
from tests.adapters.test_filling import EVERY, FROM, Recording, serve

STRATEGY = ["--strategy", "strategies.market_maker:MarketMaker", "--mode", "interpreted"]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return Recording(USDM, tmp_path_factory.mktemp("clean"))


@pytest.fixture
def server(recording: Recording) -> Iterator[RelayServer]:
    """A relay that knows the books of the recording."""
    with serving(RelayServer()) as made:
        serve(recording, made)
        yield made


@pytest.fixture(scope="module")
def store(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cached") / "store"
    Store(path).record(recording.open())
    return path


def facts_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_verify_refetches_holes(
    recording: Recording, server: RelayServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_RELAY_KEY", KEY)
    drop = ["--drop-every", str(10 * EVERY), "--drop-from", str(FROM)]
    command = ["verify", str(recording.path), "--adapter", "binance-usdm", *drop, "--json"]
    assert main(command) == 0
    waited = facts_of(capsys)["quality"]["gaps"]
    assert main([*command, "--repair", "refetch", "--relay", server.url]) == 0
    refetched = facts_of(capsys)["quality"]["gaps"]
    assert len(refetched) == len(server.requests) >= len(waited) > 0
    assert {gap["repair"] for gap in refetched} == {"refetch"} and "refetch" not in {gap["repair"] for gap in waited}
    assert {values["exchange"] for _, values in server.requests} == {"binance-futures"}


def test_run_takes_the_same_arguments(
    recording: Recording, server: RelayServer, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--data", str(recording.path), "--adapter", "binance-usdm", *STRATEGY, "--json"]
    assert main(command) == 0
    plain = facts_of(capsys)["digest"]
    assert main([*command, "--repair", "refetch", "--relay", server.url]) == 0
    assert facts_of(capsys)["digest"] == plain and server.requests == []


def test_a_wrong_key_is_an_error(
    recording: Recording, server: RelayServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLAY_RELAY_KEY", "wrong")
    drop = ["--drop-every", str(EVERY), "--repair", "refetch", "--relay", server.url]
    assert main(["verify", str(recording.path), "--adapter", "binance-usdm", *drop]) == 3
    said = capsys.readouterr().err
    assert "check REPLAY_RELAY_KEY" in said and "wrong" not in said.replace("wrong key", "")


def test_a_cached_run_is_the_same_run(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", str(store), *STRATEGY, "--json"]
    assert main(command) == 0
    plain = facts_of(capsys)
    assert main([*command, "--cache", "64M"]) == 0
    first = facts_of(capsys)
    assert main([*command, "--cache", "64M", "--prefetch"]) == 0
    prefetched = facts_of(capsys)
    assert plain["digest"] == first["digest"] == prefetched["digest"]
    assert plain["quality"]["cache"] == {}
    blocks = first["quality"]["cache"]["disk"]
    assert first["quality"]["cache"] == {"disk": blocks} and prefetched["quality"]["cache"] == {"memory": blocks}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repair", "refetch"], "--repair refetch --relay URL"),
        (["--relay", "http://127.0.0.1:1"], "belong together"),
        (["--repair", "refetch", "--relay", "nowhere"], "is not the address of a relay"),
        (["--cache", "1G"], "is for stores"),
    ],
)
def test_mistakes_with_recordings(
    recording: Recording, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "--data", str(recording.path), "--adapter", "binance-usdm", *STRATEGY]
    assert main([*command, *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cache", "much"], "does not begin with a size"),
        (["--cache", "1M,http://x"], "is not an address"),
        (["--prefetch"], "needs --cache"),
        (["--repair", "bridge"], "is for --data"),
    ],
)
def test_mistakes_with_a_store(
    store: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(store), *STRATEGY, *arguments]) == 2
    assert words in capsys.readouterr().err
