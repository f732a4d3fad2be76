from __future__ import annotations

from typing import Any

from hf_speech.experiments.adaptation import SPEAKERS, adaptation_table


def adapted(before: float, after: float) -> dict[str, Any]:
    def row(one: float, other: float, count: int) -> dict[str, Any]:
        return {"before": {"accuracy": one}, "after": {"accuracy": other}, "num_utterances": count}

    return {"command": "hf-speech adapt X", "new": row(before, after, 450), "old": row(0.98, 0.976, 250)}


def record(*speakers: str) -> dict[str, Any]:
    rows = {
        name: {"command": "hf-speech train X", "1": adapted(0.7, 0.8), "5": adapted(0.7, 0.98)} for name in speakers
    }
    rows["jackson"] = {"command": "hf-speech train X", "1": adapted(1.0, 1.0), "5": adapted(1.0, 1.0)}
    return {"kind": "voices", "rows": rows}


def test_the_table_has_a_row_per_speaker_and_the_mean_of_unused_speakers() -> None:
    table = adaptation_table(record(*SPEAKERS))
    assert (
        "| george | 70.0% | **80.0%** (76.1 to 83.4) | **98.0%** (96.2 to 98.9) | -0.4 points | -0.4 points |" in table
    )
    assert "| mean of the 4 not used to choose settings | 70.0% | 80.0% | 98.0% |" in table
    assert "Not run yet" not in table


def test_reports_missing_results() -> None:
    table = adaptation_table(record("george"))
    assert table.endswith("Not run yet: lucas, nicolas, theo, yweweler.")
    assert "mean of" not in table
