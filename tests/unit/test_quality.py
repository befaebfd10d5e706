"""Counts of what was wrong with the data: adding up, listing, reading."""

from __future__ import annotations

import json
from collections import Counter

from replay.quality import MAX_LISTED_GAPS, Gap, InstrumentQuality, QualityReport


def report(name: str = "v:A", **counts: int) -> QualityReport:
    out = QualityReport()
    quality = out.of(name)
    for key, value in counts.items():
        setattr(quality, key, value)
    return out


def test_counts_of_one_instrument_add_up_and_others_stay_apart() -> None:
    one, two = report(messages=3, trades=1), report(messages=4, breaks=2)
    one.of("v:A").anomalies["crossed"] += 1
    two.of("v:A").anomalies["crossed"] += 2
    two.of("v:B").messages = 9
    one.ignored["ping"] = 1
    two.ignored["ping"] = 2
    two.of("v:A").book_state = "valid"
    both = one.merged(two)
    assert both.of("v:A") == InstrumentQuality(
        messages=7, trades=1, breaks=2, book_state="valid", anomalies=Counter(crossed=3)
    )
    assert both.of("v:B").messages == 9
    assert both.ignored == Counter(ping=3)
    assert one.of("v:A").messages == 3, "the parts stay as they were"
    assert one.of("v:A").anomalies == Counter(crossed=1)
    both.of("v:B").messages = 1
    assert two.of("v:B").messages == 9


def test_gaps_beyond_the_bound_are_counted_but_not_kept() -> None:
    out = QualityReport()
    for i in range(MAX_LISTED_GAPS + 5):
        out.add_gap(Gap("v:A", i, i, i + 2))
    assert (len(out.gaps), out.gaps_total) == (MAX_LISTED_GAPS, MAX_LISTED_GAPS + 5)
    both = out.merged(out)
    assert (len(both.gaps), both.gaps_total) == (MAX_LISTED_GAPS, 2 * MAX_LISTED_GAPS + 10)
    assert any(line.startswith("… 985 more gaps") for line in out.lines())


def test_blind_time() -> None:
    assert Gap("v:A", 100, 1, 5).blind_us is None
    assert Gap("v:A", 100, 1, 5, end_us=350).blind_us == 250


def test_a_person_reads_what_matters() -> None:
    out = report(messages=1_234, off_tick=3, exch_ts_backsteps=2)
    out.of("v:A").anomalies["crossed book"] = 4
    out.add_gap(Gap("v:A", 1_000_000, 10, 15))
    out.add_gap(Gap("v:A", 2_000_000, 20, 25, 2_500_000, "snapshot"))
    out.clock_offset_us = 1_500.0
    text = "\n".join(out.lines())
    assert "clock offset +1.500 ms" in text
    assert "v:A: 1,234 messages" in text
    assert "3 prices or sizes off the grid" in text
    assert "2 venue times stepped back" in text
    assert "4 × crossed book" in text
    assert "1970-01-01T00:00:01.000000Z: ids 10…15, never recovered" in text
    assert "ids 20…25, blind 500.0 ms, repaired by snapshot" in text
    assert "off the grid" not in "\n".join(report(messages=1).lines())


def test_json_keeps_every_count() -> None:
    out = report(messages=5, stale=2)
    out.of("v:A").anomalies["x"] = 7
    out.ignored["ping"] = 3
    out.add_gap(Gap("v:A", 1, 2, 3))
    values = json.loads(json.dumps(out.as_dict()))
    assert values["instruments"]["v:A"]["stale"] == 2
    assert values["instruments"]["v:A"]["anomalies"] == {"x": 7}
    assert values["ignored"] == {"ping": 3}
    assert values["gaps"][0]["next_id"] == 3
    assert values["gaps_total"] == 1


def test_a_report_comes_back_from_json() -> None:
    out = report(messages=3, breaks=1)
    out.of("v:A").anomalies["crossed"] += 2
    out.ignored["ping"] = 4
    out.add_gap(Gap("v:A", 10, 5, 9))
    out.add_gap(Gap("v:A", 20, 9, 12, 25, "snapshot"))
    back = QualityReport.from_dict(json.loads(json.dumps(out.as_dict())))
    assert back == out
    assert back.lines() == out.lines()


def test_a_report_survives_json_with_its_counters() -> None:
    report = QualityReport()
    report.cache["memory"] += 3
    again = QualityReport.from_dict(json.loads(json.dumps(report.as_dict())))
    assert again.merged(report).cache == {"memory": 6}
