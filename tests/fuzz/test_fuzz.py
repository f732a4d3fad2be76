"""Fuzzing with damaged sounds and model folders, invalid options and requests: each case works or is rejected."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from fuzz import campaign
from fuzz.audio import make_sound, with_checksums
from fuzz.broken import Broken, Deadly
from fuzz.campaign import KINDS, Result, Summary, load_cases, run_cases, run_here
from fuzz.mutations import mutate_bytes, mutate_json

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does")

OUTCOMES = {
    "misses": "KeyError",
    "allocates": "is out of memory",
    "computes": "is slow",
    "prints": "prints a traceback",
    "stammers": "is refused without a sentence",
    "swallows": "is out of memory",
    "strays": "CorpusError",
    "refuses": "refused",
    "works": "used",
    "dies": "ends the process",
    "sleeps": "hangs",
    "spins": "hangs",
}


def defects(results: list[Result]) -> str:
    return "\n".join(f"case {result.case}: {result.outcome} {result.detail}" for result in results if result.is_defect)


@pytest.mark.parametrize(("kind", "count"), [("audio", 150), ("folders", 100), ("options", 40), ("tables", 60)])
def test_some_damaged_cases_work_or_are_rejected(kind: str, count: int, tmp_path: Path):
    results = list(run_here(kind, load_cases(kind, tmp_path), 0, count))
    assert len(results) == count
    assert not defects(results)
    assert {result.outcome for result in results} == {"used", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_campaign_works_or_is_rejected(kind: str, tmp_path: Path):
    count = KINDS[kind][1]
    results = list(run_cases(kind, 0, count, tmp_path))
    assert len(results) == count
    assert not defects(results)


def test_some_requests_to_a_space_are_answered_or_rejected(tmp_path: Path):
    pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
    cases = load_cases("requests", tmp_path)
    try:
        results = list(run_here("requests", cases, 0, 150))
    finally:
        cases.stop()
    assert not defects(results)
    assert {result.outcome for result in results} == {"used", "refused"}


def expected(cases: type[Broken], kind: str, count: int) -> list[str]:
    return [OUTCOMES[Random(f"{kind} {case}").choice(cases.defects).__name__] for case in range(count)]


def test_the_harness_finds_every_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(campaign, "CPU_SECONDS", 0.4)
    kind = "fuzz.broken:Broken"
    results = list(run_here(kind, load_cases(kind, tmp_path), 0, 30))
    assert [result.outcome for result in results] == expected(Broken, kind, 30)
    assert {result.outcome for result in results} == {OUTCOMES[case.__name__] for case in Broken.defects}
    summary = Summary()
    for result in results:
        summary.add(result)
    assert "30 cases: " in str(summary)
    assert summary.slowest.outcome == "is slow"
    assert len(summary.defects) + summary.outcomes["used"] + summary.outcomes["refused"] == 30


@pytest.mark.slow
def test_replaces_a_process_that_exits_or_hangs(tmp_path: Path):
    kind = "fuzz.broken:Deadly"
    numbers = range(5, 9)
    drawn = [Random(f"{kind} {case}").choice(Deadly.defects) for case in numbers]
    assert set(drawn) == set(Deadly.defects)
    results = list(run_cases(kind, numbers.start, len(numbers), tmp_path, wall_seconds=60))
    assert [result.case for result in results] == list(numbers)
    assert [result.outcome for result in results] == [OUTCOMES[case.__name__] for case in drawn]


def test_cases_are_reproducible():
    sound, text = make_sound("WAV", "PCM_16", 0.1, 1), '{"a": [1, {"b": null}], "c": "d"}'
    damaged = {mutate_bytes(sound, Random(case)) for case in range(200)}
    assert len(damaged) > 150
    assert damaged == {mutate_bytes(sound, Random(case)) for case in range(200)}
    texts = [mutate_json(text, Random(case)) for case in range(200)]
    assert len(set(texts)) > 100
    assert texts == [mutate_json(text, Random(case)) for case in range(200)]


def test_ogg_checksums_equal_those_of_the_encoder():
    sound = make_sound("OGG", "VORBIS", 0.4, 1)
    assert with_checksums(sound) == sound
    assert with_checksums(sound[:22] + bytes(4) + sound[26:]) == sound
