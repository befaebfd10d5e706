"""What a person reads, what a program finds on the exception, and what the shell gets."""

from __future__ import annotations

import pickle

import pytest

from replay.errors import (
    CompileError,
    ConfigError,
    DataError,
    KernelError,
    ReplayError,
    StrategyError,
    TransportError,
    did_you_mean,
)

OURS = "this is a bug of tickreplay, please report it with the command that you ran"

SENTENCES = [
    (ConfigError("lots", 0, "must be positive"), "lots=0: must be positive"),
    (ConfigError("mode", "fast", "is not known", "did you mean 'full'?"),
     "mode='fast': is not known; did you mean 'full'?"),
    (ConfigError("", None, "no data given"), "no data given"),
    (DataError("bad JSON", "a.jsonl", 7, "cut off?"), "a.jsonl:7: bad JSON; cut off?"),
    (DataError("is empty", "a.jsonl"), "a.jsonl: is empty"),
    (DataError("unknown message"), "unknown message"),
    (TransportError("refused the connection", "redis://x", "is it running?"),
     "redis://x: refused the connection; is it running?"),
    (TransportError("timed out"), "timed out"),
    (StrategyError("Mine", "on_trade", "ValueError: no", 1_500_000, "Trade(1)"),
     "Mine.on_trade at 1970-01-01T00:00:01.500000Z: ValueError: no while handling 'Trade(1)'"),
    (StrategyError("Mine", "", "is abstract"), "Mine: is abstract"),
    (StrategyError("Mine", "on_start", "no", 0), "Mine.on_start at 1970-01-01T00:00:00.000000Z: no"),
    (CompileError("Mine", "on_book", "uses a dict", 12), "Mine.on_book, line 12: uses a dict"),
    (KernelError(3, "advance", "source x"),
     f"internal error 3 in advance (source x); {OURS}"),
    (KernelError(3, "advance"),
     f"internal error 3 in advance; {OURS}"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "sentence"), SENTENCES, ids=[type(e).__name__ + str(i) for i, (e, _) in enumerate(SENTENCES)]
)
def test_sentences(error: ReplayError, sentence: str) -> None:
    assert str(error) == sentence
    assert isinstance(error, ReplayError)


@pytest.mark.parametrize("error", [error for error, _ in SENTENCES], ids=lambda e: type(e).__name__)
def test_errors_cross_process_boundaries(error: ReplayError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_exit_codes_tell_whose_fault_it_is() -> None:
    codes = {kind: kind.exit_code for kind in (ConfigError, DataError, TransportError, StrategyError, KernelError)}
    assert codes == {ConfigError: 2, DataError: 2, TransportError: 3, StrategyError: 1, KernelError: 70}


def test_did_you_mean() -> None:
    assert did_you_mean("on_trad", ["on_trade", "on_book"]) == "did you mean 'on_trade'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"
