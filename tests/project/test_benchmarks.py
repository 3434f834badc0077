"""The benchmark suite's own arithmetic: turns become rows, gaps and regressions are seen."""

import pytest

from benchmarks import __main__ as main
from benchmarks import cases, contenders, report, results

ARRAY = contenders.Array("he_normal", (4, 8), "float32", "2^5")
CASE = cases.Case("sizes", ARRAY, ("jaxinit", "jax", "fill"))
FIELDS = {
    "elements": 32,
    "bytes": 128,
    "compile_seconds": 0.5,
    "temporary_bytes": 0,
    "peak_bytes": 128,
}


def raw(seconds):
    """What pytest-benchmark writes: a list of rounds for each turn of each contender."""
    names = {"table": "sizes", "case": cases.label(CASE)}
    return {
        "benchmarks": [
            {"extra_info": {**names, "contender": c, **FIELDS}, "stats": {"data": data}}
            for c, turns in seconds.items()
            for data in turns
        ]
    }


ROWS = results.rows(
    raw({"jaxinit": [[1.0, 2.0], [3.0, 9.0]], "jax": [[8.0], [12.0]], "fill": [[1.0]]})
)


def test_turns_become_one_row():
    ours, theirs, fill = ROWS
    assert ours["seconds"] == 2.5  # of 1, 2, 3, 9
    assert (theirs["seconds"], theirs["contender"]) == (10.0, "jax")
    assert (fill["seconds"], fill["spread"]) == (1.0, None)


def test_a_probe_says_itself_how_long_it_took():
    info = {"table": "trees", "case": "linen 8", "contender": "jit", "leaves": 75}
    runs = [
        {"extra_info": {**info, "seconds": s}, "stats": {"data": [99.0]}} for s in (1.0, 3.0, 5.0)
    ]
    (row,) = results.rows({"benchmarks": runs})
    assert (row["seconds"], row["leaves"]) == (3.0, 75)


def test_complete_rows_lack_nothing():
    assert results.missing(ROWS, [CASE]) == []


def test_a_row_that_is_not_there_is_missed():
    assert results.missing(ROWS[:2], [CASE]) == [f"sizes: {cases.label(CASE)}: no fill"]


@pytest.mark.parametrize("field", ["seconds", *FIELDS])
@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_figure_that_is_none_is_missed(field, value):
    rows = [{**ROWS[0], field: value}, *ROWS[1:]]
    assert results.missing(rows, [CASE]) == [f"sizes: {cases.label(CASE)}: jaxinit has no {field}"]


def test_regressions_are_of_ratios():
    name = f"sizes: {cases.label(CASE)}"
    assert results.ratios(ROWS) == {name: 4.0}
    assert results.regressions({name: 4.0}, {name: 5.0}, 0.7) == []
    (told,) = results.regressions({name: 3.4}, {name: 5.0}, 0.7)
    assert told == f"{name}: 3.40 x the reference, 5.00 x in the baseline"


def test_a_report_has_tables_and_figures(tmp_path):
    pytest.importorskip("matplotlib")
    results.write(tmp_path / "all.json", {"jax": "0"}, "quick", ROWS)
    found = results.read(tmp_path / "all.json")
    text = report.markdown(found, "python -m benchmarks --quick")
    assert "| he_normal float32 2^5 | jaxinit | 2,500 |" in text
    assert "of the fill |" not in text  # it differs tenfold with where the memory comes from
    report.throughput(found["rows"], found["machine"], tmp_path / "throughput.png")
    assert (tmp_path / "throughput.png").stat().st_size > 10_000


@pytest.mark.parametrize("effort", cases.EFFORTS)
def test_cases_are_named_apart(effort):
    found = [*cases.arrays(effort), *cases.programs(effort)]
    names = [(case.table, cases.label(case)) for case in found]
    assert len(set(names)) == len(names)
    assert {case.table for case in found} <= report.TABLES.keys()
    assert all("jaxinit" in case.contenders for case in found)


def test_the_baseline_is_of_this_suite():
    """Every ratio of the committed baseline belongs to a case that is still measured."""
    baseline = results.ratios(results.read(results.BASELINE)["rows"])
    found = [*cases.arrays("default"), *cases.programs("default")]
    assert set(baseline) <= {f"{case.table}: {cases.label(case)}" for case in found}
    assert len(baseline) > 30


@pytest.mark.parametrize(
    "given",
    ["--json FILE sharded", "sharded --json FILE", "gpu --json FILE", "--quick --json FILE"],
)
def test_figures_are_kept_where_the_command_says(given, monkeypatch):
    """The pages of figures begin with the command that made them."""
    ran = []
    monkeypatch.setattr(main, "run", lambda effort, out: ran.append((effort, out)))
    main.main(given.split())
    ((effort, out),) = ran
    assert (effort in given, str(out)) == (True, "FILE")
