"""The stage table over several runs."""

import json

import pytest

from r1lit.errors import InputError
from r1lit.report.stages import main, read_stages, stage_table, summarize


def write_stage(run, stage, **measures):
    folder = run / stage
    folder.mkdir(parents=True)
    metrics = {name: {"value": value, "low": 0, "high": 1, "n": 3} for name, value in measures.items()}
    (folder / "stage.json").write_text(json.dumps({"metrics": metrics}))


@pytest.fixture
def runs(tmp_path):
    for seed, value in ((1, 0.9), (2, 0.96), (3, 0.93)):
        write_stage(tmp_path / f"seed{seed}", "zero", **{"pass@1": value, "mean_length": 70.0 + seed})
    write_stage(tmp_path / "seed1", "rl1", **{"pass@1": 0.97, "language_consistency": None})
    return [tmp_path / f"seed{seed}" for seed in (1, 2, 3)]


def test_values_by_stage_and_measure(runs):
    found = read_stages(runs)
    assert found["zero"] == {"pass@1": [0.9, 0.96, 0.93], "mean_length": [71.0, 72.0, 73.0]}
    assert found["rl1"] == {"pass@1": [0.97]}


def test_summary_has_mean_and_range():
    assert summarize([0.9, 0.96, 0.93]) == "0.930 [0.900, 0.960]"
    assert summarize([71.0, 72.0]) == "71.5 [71.0, 72.0]"
    assert summarize([0.5]) == "0.500"


def test_table_has_stages_in_the_recipes_order(runs):
    table = stage_table(runs)
    assert [column.header for column in table.columns] == ["measure", "zero (n=3)", "rl1 (n=1)"]
    assert list(table.columns[0].cells) == ["pass@1", "mean_length"]


def test_errors_are_one_line(tmp_path, runs, capsys):
    assert main([]) == 2
    assert main([str(tmp_path / "nothing")]) == 2
    (runs[0] / "zero" / "stage.json").write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        read_stages(runs)
    assert len(capsys.readouterr().err.strip().split("\n")) == 2
    assert main([str(runs[1])]) == 0
