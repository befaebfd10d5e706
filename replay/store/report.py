"""What a store, a day or a file holds, for people (lines) and for programs (JSON-ready dicts)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replay.errors import DataError
from replay.store.catalog import Day, DayFile
from replay.store.options import OptionDay, option_days
from replay.store.store import Store
from replay.units import US_PER_DAY, US_PER_S, iso_from_us


def blind_us(day: Day) -> int:
    """Time without a valid book between the first and the last event of the day, by its listed gaps."""
    intervals = [(g.start_us, day.last_us if g.end_us is None else g.end_us) for g in day.quality.gaps]
    total, covered = 0, day.first_us
    for start, stop in sorted(intervals):
        total += max(0, stop - max(start, covered))
        covered = max(covered, stop)
    return total


def day_facts(day: Day) -> dict[str, Any]:
    """One day, without its list of gaps; times in µs, rates in rows a second of covered time."""
    span_us = max(1, day.last_us - day.first_us)
    return {
        "date": day.date,
        "rows": day.rows,
        "bytes": day.bytes,
        "first_us": day.first_us,
        "last_us": day.last_us,
        "coverage": (day.last_us - day.first_us) / US_PER_DAY,
        "gaps": day.quality.gaps_total,
        "blind_us": blind_us(day),
        "digest": day.digest,
        "channels": {
            channel: {
                "rows": file.footer.rows,
                "messages": file.footer.messages,
                "bytes": file.bytes,
                "rows_per_s": file.footer.rows * US_PER_S / span_us,
            }
            for channel, file in day.files.items()
        },
        "quality": day.quality.counts.as_dict(),
        "source_files": [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in day.source_files],
    }


def store_facts(store: Store, only: str = "") -> dict[str, Any]:
    """Everything in a store, or the instrument `only`; `digest` is of the whole store."""
    names = [name for name in store.names() if only in ("", name)]
    options = list(option_days(store.path))
    return {
        "store": str(store.path),
        "digest": store.digest(),
        "instruments": {name: [day_facts(day) for day in store.days(name)] for name in names},
        "options": [
            {"venue": day.venue, "date": day.date, "rows": day.rows, "bytes": day.bytes}
            for day in options
            if isinstance(day, OptionDay)
        ],
        "problems": [str(problem) for problem in (*store.problems(), *options) if isinstance(problem, DataError)],
    }


def file_facts(file: DayFile) -> dict[str, Any]:
    """One file: its footer."""
    return {"path": str(file.path), "bytes": file.bytes, **json.loads(file.footer.text())}


def listing(facts: dict[str, Any]) -> list[str]:
    """One line an instrument: days, dates, rows, size."""
    out = []
    width = max((len(name) for name in facts["instruments"]), default=0)
    for name, days in facts["instruments"].items():
        if not days:
            out.append(f"{name:<{width}}  no complete day")
            continue
        rows, size = sum(day["rows"] for day in days), sum(day["bytes"] for day in days)
        dates = days[0]["date"] if len(days) == 1 else f"{days[0]['date']} … {days[-1]['date']}"
        channels = " ".join(dict.fromkeys(channel for day in days for channel in day["channels"]))
        out.append(
            f"{name:<{width}}  {len(days):>4} days  {dates}  {rows:>13,} rows  {size / 1e6:>9,.1f} MB  "
            f"{size / rows:.1f} B/row  {channels}"
        )
    for venue in dict.fromkeys(day["venue"] for day in facts["options"]):
        days = [day for day in facts["options"] if day["venue"] == venue]
        rows, size = sum(day["rows"] for day in days), sum(day["bytes"] for day in days)
        out.append(f"option summaries of {venue}  {len(days)} days  {rows:,} rows  {size / 1e6:,.1f} MB")
    return [*out, f"digest {facts['digest']}"] if out else ["the store is empty"]


def day_lines(name: str, days: list[dict[str, Any]]) -> list[str]:
    """An instrument day by day: coverage, rates, what was wrong, size, digest."""
    out = [name]
    for day in days:
        rates = ", ".join(f"{channel} {facts['rows_per_s']:,.1f}/s" for channel, facts in day["channels"].items())
        out.append(
            f"  {day['date']}  {iso_from_us(day['first_us'])[11:19]}–{iso_from_us(day['last_us'])[11:19]} "
            f"({day['coverage']:.1%})  {day['rows']:,} rows  {day['bytes'] / 1e6:,.1f} MB  {day['digest'][:12]}"
        )
        out.append(f"    {rates}; {day['gaps']:,} gaps, blind {day['blind_us'] / US_PER_S:,.1f} s")
        out += [f"    {count:,} × {what}" for what, count in sorted(day["quality"]["anomalies"].items())]
    return out


def gap_lines(day: Day, most: int = 20) -> list[str]:
    """The first gaps of a day, one a line."""
    out = []
    for gap in day.quality.gaps[:most]:
        end = (
            "open at the end of the day" if gap.end_us is None else f"blind {(gap.end_us - gap.start_us) / 1e3:,.1f} ms"
        )
        out.append(f"    gap at {iso_from_us(gap.start_us)}: ids {gap.last_good_id}…{gap.next_id}, {end}")
    if day.quality.gaps_total > most:
        out.append(f"    … {day.quality.gaps_total - most:,} more")
    return out


def file_lines(file: DayFile) -> list[str]:
    """One file for a person."""
    footer = file.footer
    i = footer.instrument
    terms = f"{i.payoff}, tick {i.tick}, lot {i.lot}, multiplier {i.multiplier}, settles in {i.settle}"
    return [
        f"{i.name} {footer.channel} {Path(file.path).parent.name.partition('=')[2]}",
        f"  {terms}",
        f"  {footer.rows:,} rows, {footer.messages:,} messages, {file.bytes / 1e6:,.3f} MB, "
        f"{file.bytes / footer.rows:.2f} B/row",
        f"  {iso_from_us(footer.first_us)} … {iso_from_us(footer.last_us)}, seq {footer.first_seq} … {footer.last_seq}",
        f"  feed latency at most {footer.max_latency_us / 1e3:,.3f} ms",
        f"  digest {footer.digest}",
        *(f"  from {source.name} ({source.bytes:,} bytes, sha256 {source.sha256})" for source in footer.source_files),
    ]
