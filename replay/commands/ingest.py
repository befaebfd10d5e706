"""`replay import`: recordings into a store."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from replay.commands import add_command, key_values
from replay.errors import ConfigError, did_you_mean
from replay.terminal import ProgressLine, say_when_compiling

if TYPE_CHECKING:
    from replay.commands import Subparsers
    from replay.instruments import Instrument
    from replay.store.ingest import Outcome, Progress

TERMS = ("tick", "lot", "payoff", "multiplier", "settle")


EXAMPLE = """\
replay import 'data/*.csv.gz' --adapter tardis-csv --store store"""


def add_parser(subparsers: Subparsers) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        subparsers,
        "import",
        "import recordings into a store",
        "Write recordings to a store, several files at a time.  Run it again after an interruption: what "
        "is finished is skipped.  Exit code 0 when everything is in the store, 2 when a file or argument is wrong.",
        EXAMPLE,
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="files, folders or quoted globs")
    parser.add_argument("--adapter", required=True, metavar="NAME", help="who wrote them: tardis-csv, binance-usdm, …")
    parser.add_argument("--store", required=True, type=Path, metavar="DIR", help="folder of the store, made if missing")
    parser.add_argument(
        "--instrument",
        action="append",
        default=[],
        metavar="NAME,K=V…",
        help="known terms, venue:SYMBOL,tick=0.1,lot=0.001[,payoff=…,multiplier=…,settle=…]; may be repeated",
    )
    parser.add_argument("--policy", choices=("repair", "count", "raise"), help="what to do with wrong rows")
    parser.add_argument("--option", action="append", default=[], metavar="K=V", help="an option of the adapter")
    parser.add_argument("--replace", action="store_true", help="write days anew that are in the store already")
    parser.add_argument("--together", action="store_true", help="read all files as one recording")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes at a time (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.set_defaults(run=run)


def instrument_from(text: str) -> Instrument:
    """`venue:SYMBOL,tick=0.1,lot=0.001,…` as an Instrument; ConfigError saying what is wrong."""
    from decimal import Decimal, InvalidOperation

    from replay.instruments import Instrument

    name, *pairs = text.split(",")
    venue, colon, symbol = name.partition(":")
    if not (venue and colon and symbol):
        raise ConfigError("--instrument", text, "does not begin with venue:SYMBOL", "for example test:A,tick=1,lot=1")
    terms = key_values("--instrument", pairs)
    for key in terms:
        if key not in TERMS:
            raise ConfigError("--instrument", text, f"{key!r} is not a term", did_you_mean(key, TERMS))
    for key in ("tick", "lot"):
        if key not in terms:
            raise ConfigError("--instrument", text, f"has no {key}", f"write {name},tick=…,lot=…")
    try:
        tick, lot, multiplier = (Decimal(terms.get(key, "1")) for key in ("tick", "lot", "multiplier"))
    except InvalidOperation:
        raise ConfigError("--instrument", text, "tick, lot and multiplier must be decimal numbers") from None
    payoff = terms.get("payoff", "linear")
    return Instrument(venue, symbol, payoff, tick, lot, multiplier, terms.get("settle", "USDT"))  # type: ignore[arg-type]


def progress_to(line: ProgressLine, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Show rows, MB/s and the time left; `clock` returns seconds."""
    begin = clock()

    def show(rows: int, done: int, total: int) -> None:
        seconds = max(clock() - begin, 1e-3)
        left = seconds * (total - done) / done if done else 0.0
        line.show(f"{rows:,} rows   {done / seconds / 1e6:,.1f} MB/s   {done / max(total, 1):.0%}   {left:,.0f} s left")

    return show


def run(arguments: argparse.Namespace) -> int:
    """Import and list.  Raises ConfigError for wrong arguments."""
    from replay.store.ingest import ingest

    options = key_values("--option", arguments.option)
    if arguments.policy:
        options["policy"] = arguments.policy
    say_when_compiling(sys.stderr, "what reads and writes recordings", "take")
    with ProgressLine(sys.stderr) as line:
        line.show("reading …")
        outcomes = ingest(
            arguments.sources,
            adapter=arguments.adapter,
            store=arguments.store,
            instruments=[instrument_from(text) for text in arguments.instrument],
            options=options,
            replace=arguments.replace,
            together=arguments.together,
            jobs=arguments.jobs or os.cpu_count() or 1,
            progress=progress_to(line),
        )
    if arguments.json:
        print(json.dumps({"parts": [outcome.as_dict() for outcome in outcomes]}, indent=2))
    else:
        print("\n".join(lines(outcomes)))
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in failed:
        print(f"replay: {error}", file=sys.stderr)
    return failed[0].exit_code if failed else 0


def lines(outcomes: list[Outcome]) -> list[str]:
    """One line a part, its days below, and a sum."""
    out = []
    for outcome in outcomes:
        out.append(f"{outcome.state:<9} {', '.join(Path(path).name for path in outcome.paths)}")
        out += [f"          {day.instrument} {day.date}  {day.rows:,} rows  {day.digest[:12]}" for day in outcome.days]
    rows = sum(outcome.rows for outcome in outcomes if outcome.state == "imported")
    states = [outcome.state for outcome in outcomes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return [*out, f"{rows:,} rows; parts: {counts}"]
