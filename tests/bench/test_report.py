"""Ratios, verdicts, and the chart that shows them."""

from xml.etree import ElementTree as ET

import pytest

from bench.chart import draw
from bench.floors import FLOORS, PSS_CEILING_MB
from bench.records import Case, Memory, Sample, SubjectName
from bench.report import Report, Row, summarise, table
from bench.run import CASES

GET = next(case for case in CASES if case.name == "http_get_memory")
BY_GHZ = next(case for case in CASES if case.name == "grpc_get_ghz")


def sample(rate: float, cpu_seconds: float = 1.0) -> Sample:
    return Sample(rate=rate, completed=int(rate), failed=1, seconds=1.0, cpu_seconds=cpu_seconds)


def summed(case: Case, noded: list[Sample], daprd: list[Sample]) -> Row:
    samples: dict[SubjectName, list[Sample]] = {"noded": noded, "daprd": daprd}
    return summarise(case, samples)


def test_every_floor_belongs_to_a_case() -> None:
    """A floor nobody measures against would always pass."""
    assert set(FLOORS) <= {case.name for case in CASES}


def test_the_ratio_is_the_median_of_the_pairs() -> None:
    """A round in which the machine was slow for both says as much as any other."""
    row = summed(GET, [sample(400), sample(50), sample(900)], [sample(100), sample(10), sample(300)])

    assert (row.rate_ratio, row.noded.rate, row.noded.failed) == (4, 400, 3)


@pytest.mark.parametrize(("rate", "passed"), [(449, False), (450, True), (451, True)])
def test_a_floor_is_reached_at_its_ratio(rate: float, *, passed: bool) -> None:
    """In-memory get must reach four and a half times daprd."""
    row = summed(GET, [sample(rate)], [sample(100)])

    assert row.passed is passed
    assert Report((row,), {}, 1, 1.0).passed is passed


def test_a_floor_is_for_one_number_of_connections() -> None:
    """What other loads give is told, not judged, and not drawn."""
    samples: dict[SubjectName, list[Sample]] = {"noded": [sample(100)], "daprd": [sample(100)]}
    row = summarise(GET, samples, connections=1)

    assert (row.passed, row.rate_ratio) == (None, 1)
    assert "    1 " in table(Report((row,), {}, 1, 1.0))
    assert GET.title not in draw([row])


def test_where_the_generator_is_the_limit_processor_time_is_compared() -> None:
    """Equal rates at a third of the processor time are a ratio of three."""
    row = summed(BY_GHZ, [sample(900, 0.3)], [sample(900, 0.9)])

    assert row.ratio == pytest.approx(3)
    assert row.passed


def test_without_daprd_there_is_no_verdict_and_no_chart() -> None:
    """A rate alone says nothing: only ratios travel."""
    row = summarise(GET, {"noded": [sample(400)]})

    assert (row.ratio, row.passed, row.daprd) == (None, None, None)
    assert GET.title not in draw([row])


@pytest.mark.parametrize(("pss_mb", "passed"), [(PSS_CEILING_MB, True), (PSS_CEILING_MB + 0.1, False)])
def test_memory_has_a_ceiling(pss_mb: float, *, passed: bool) -> None:
    """Only noded is held to it."""
    memory: dict[SubjectName, Memory] = {"noded": Memory(pss_mb, pss_mb, 1), "daprd": Memory(500, 500, 2)}
    report = Report((), memory, 1, 1.0)

    assert report.passed is passed
    assert ("MISSED" in table(report)) is not passed


def test_the_chart_is_xml_and_shows_both_rates_and_the_ratio() -> None:
    """What a reader sees is what was measured; the longest bar is the faster subject's."""
    root = ET.fromstring(draw([summed(GET, [sample(40_000)], [sample(8_000)])]))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    bars = [float(element.attrib["width"]) for element in root.iter("{http://www.w3.org/2000/svg}rect")][2:]

    assert {GET.title, "40,000", "8,000", "5.0\N{MULTIPLICATION SIGN}"} <= texts
    assert bars[0] == pytest.approx(5 * bars[1], rel=0.02)
