"""The report as a whole, on run folders that stages' own writers made."""

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1lit.cli import main
from r1lit.errors import InputError
from r1lit.metrics.measures import summarize
from r1lit.report.build import report

AGAIN = "2 + 2 = 4 , wait , no , wait , 2 + 3 = 5 , but check : 5 = 5"


@pytest.fixture
def tiny(make_run, sketch):
    shares = [0.0, 0.1, 0.1, 0.2, 0.3, 0.6, 0.8, 0.8, 0.9, 0.9]
    zero = sketch(right=6, reasoning=AGAIN, rollouts=shares)
    make_run("tiny-seed1", zero=zero, coldstart=sketch(right=5))
    make_run("tiny-placebo", zero=sketch(right=2, rollouts=[0.1, 0.1], placebo=True))
    return make_run("tiny", base=sketch(right=2), zero=zero, coldstart=sketch(right=5, refuses=True))


def summary_of(folder):
    report(str(folder))
    return json.loads((folder / "summary.json").read_text())


def claim(summary, name):
    return next(claim for claim in summary["claims"] if claim["id"] == name)


def edit_samples(path, change):
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows), path)


def test_summary_equals_a_recount_of_the_samples_and_the_stages_own_record(tiny, record_of):
    found = summary_of(tiny)
    assert list(found["stages"]) == ["base", "zero", "coldstart"]
    for name, stage in found["stages"].items():
        rows = pq.read_table(tiny / name / "samples.parquet").to_pylist()
        held_out = [row for row in rows if row["split"] == "eval"]
        counted = summarize(held_out)
        assert stage["metrics"]["refusal_harmful"]["value"] == (name == "coldstart")
        assert (stage["metrics"]["refusal_harmful"]["n"], stage["metrics"]["refusal_harmful"]["samples"]) == (4, 8)
        for tier, figure, samples in ((None, "pass@1", 160), ("hard", "pass@1_hard", 96)):
            correct = {}
            reasoning = [row for row in held_out if row["kind"] == "reasoning" and row["tier"] == tier]
            for row in reasoning:
                correct.setdefault(row["prompt_id"], []).append(row["reward/accuracy"])
            by_hand = sum(sum(marks) / len(marks) for marks in correct.values()) / len(correct)
            assert stage["metrics"][figure]["value"] == pytest.approx(by_hand)
            assert stage["metrics"][figure]["samples"] == len(reasoning) == samples
        for measure, figure in record_of(tiny / name)["metrics"].items():
            ours = stage["metrics"][measure]
            assert ours == pytest.approx(figure | {"samples": ours["samples"]}), measure
            if measure != "pass@1_t1":
                assert ours == pytest.approx({**counted[measure], "samples": ours["samples"]}), measure
        assert stage["source"] == "samples.parquet"
        assert stage["differs_from_record"] == []
        assert stage["fingerprint"]["inputs"] == {"--model.init_from": "e" * 64}
    assert found["seeds"] == ["tiny", "tiny-seed1"]
    assert set(found["by_seed"]["tiny-seed1"]) == {"base", "zero", "coldstart"}


def test_claims_have_verdicts_by_seed_and_for_the_placebo(tiny):
    found = summary_of(tiny)
    gain = claim(found, "rl-lifts-accuracy")
    assert gain["verdict"] == "reproduced"
    assert gain["by_run"] == {"tiny": "reproduced", "tiny-seed1": "reproduced"}
    assert gain["placebo"]["verdict"] == "not reproduced"
    assert gain["findings"][0]["value"] == pytest.approx(0.5)
    assert gain["findings"][0]["seeds"] == 2
    assert {"id", "paper", "ours", "test", "verdict"} <= gain.keys()
    assert claim(found, "second-rl-preferences")["verdict"] == "not measured"
    assert found["placebo_reproduces"] == []


def test_an_edited_sample_moves_the_figure_and_enough_of_them_the_verdict(tiny):
    before = summary_of(tiny)
    path = tiny / "zero" / "samples.parquet"
    first = []

    def wrong_once(row):
        if row["split"] == "eval" and row["reward/accuracy"] == 1.0 and not first:
            first.append(row["prompt_id"])
            row["reward/accuracy"] = 0.0

    edit_samples(path, wrong_once)
    once = summary_of(tiny)
    moved = (
        once["stages"]["zero"]["metrics"]["pass@1"]["value"] - before["stages"]["zero"]["metrics"]["pass@1"]["value"]
    )
    assert moved == pytest.approx(-1 / 160)
    assert "pass@1" in once["stages"]["zero"]["differs_from_record"]
    assert any("tiny/zero: stage.json differs from its samples" in note for note in once["notes"])
    gains = [claim(s, "rl-lifts-accuracy")["findings"][0]["value"] for s in (before, once)]
    assert gains[1] - gains[0] == pytest.approx(-1 / 320), "one of two seeds"
    page = (tiny / "report.html").read_text()
    assert f"{once['stages']['zero']['metrics']['pass@1']['value']:.3f}" in page

    def all_wrong(row):
        if row["split"] == "eval":
            row["reward/accuracy"] = 0.0

    edit_samples(path, all_wrong)
    flipped = summary_of(tiny)
    assert claim(flipped, "rl-lifts-accuracy")["verdict"] == "not reproduced"
    assert claim(flipped, "rl-lifts-accuracy")["by_run"] == {"tiny": "not reproduced", "tiny-seed1": "reproduced"}


class Page(HTMLParser):
    """Collects what a page refers to, and whether its tags close."""

    def __init__(self, text):
        super().__init__()
        self.links, self.open, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action", "poster")]
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_needs_nothing_but_itself_and_reads_without_pictures(tiny):
    report(str(tiny))
    text = (tiny / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(link.startswith(("#", "data:")) for link in page.links), page.links
    assert not re.search(r"https?:|@import|url\(", text)
    assert "<script" not in text
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {link[1:] for link in page.links if link.startswith("#")} <= ids
    assert "prefers-color-scheme: dark" in text
    names = [name for name, _ in page.tags]
    assert names.count("table") == names.count("caption") >= 3
    assert all(attrs.get("scope") for name, attrs in page.tags if name == "th")
    pictures = [attrs for name, attrs in page.tags if name == "svg"]
    assert len(pictures) >= 4
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)


def test_what_a_model_wrote_cannot_become_markup(make_run, sketch):
    evil = '2 = 2 , wait <script>alert("x")</script> & 2 + 3 = 5'
    run = make_run("tiny", base=sketch(), zero=sketch(rollouts=[0.0, 0.9, 0.9]))

    def replace(row):
        if row["split"] == "train":
            row["question"] = "<script>question</script>"
            row["reward/accuracy"] = 1.0
            if row["rollout"]:
                row["text"] = f"<think>{evil}</think><answer>5</answer>"

    edit_samples(run / "zero" / "samples.parquet", replace)
    report(str(run))
    text = (run / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text, "the sample of trying again is shown"
    assert "&lt;script&gt;question" in text
    Page(text)


def test_missing_stages_are_named_and_the_rest_is_reported(make_run, sketch, capsys):
    run = make_run("tiny", base=sketch(right=2), zero=sketch(right=6))
    found = summary_of(run)
    assert {"coldstart", "rl1", "rl2", "distill"} <= set(found["missing"])
    assert claim(found, "rl-lifts-accuracy")["verdict"] == "reproduced"
    assert claim(found, "zero-mixes-languages")["ours"] == "no stage coldstart"
    assert "There is no run with shuffled rewards" in " ".join(found["notes"])
    page = (run / "report.html").read_text()
    assert "Missing stages: coldstart-data, coldstart, rl1" in page
    assert "missing stages: coldstart-data, coldstart" in capsys.readouterr().out


def test_a_run_from_before_samples_were_kept_shows_its_record_and_tests_nothing(make_run, sketch):
    run = make_run("tiny", base=sketch(), zero=sketch(right=6))
    (run / "zero" / "samples.parquet").unlink()
    found = summary_of(run)
    assert found["stages"]["zero"]["source"] == "stage.json"
    assert found["stages"]["zero"]["metrics"]["pass@1"]["value"] is not None
    assert claim(found, "rl-lifts-accuracy")["why"] == "tiny/zero keeps no evaluation samples; run it again"


def test_one_seeds_folder_is_reported_alone_with_the_profiles_base(tiny):
    found = summary_of(tiny.with_name("tiny-seed1"))
    assert found["seeds"] == ["tiny-seed1"]
    assert claim(found, "rl-lifts-accuracy")["verdict"] == "reproduced"


def test_a_folder_called_placebo_whose_rewards_were_right_is_left_out(make_run, sketch):
    run = make_run("tiny", base=sketch(right=2), zero=sketch(right=6))
    make_run("tiny-placebo", zero=sketch(right=6))
    found = summary_of(run)
    assert claim(found, "rl-lifts-accuracy")["placebo"] is None
    assert any("whose rewards were not shuffled" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("samples.parquet", b"PAR1 no table at all PAR1", r"zero/samples.parquet: not a readable Parquet file \("),
        ("samples.parquet", None, r"zero/samples.parquet: not a readable Parquet file \("),
        ("metrics.csv", b"\xff\xfe\x00nothing", "zero/metrics.csv: not a table of metrics"),
        ("metrics.csv", b"a,b\n1,2\n", "zero/metrics.csv: no column 'step'"),
        ("metrics.csv", b"step,reward\n1,0.5\n2,oops\n3,0.5\n", "zero/metrics.csv: line 3: could not convert"),
        ("metrics.csv", b"step,reward\n1,0.5\n2\n3,0.5\n", "zero/metrics.csv: line 3 has not as many values"),
        ("metrics.csv", b"step,reward\n1,0.5\n,0.5\n3,0.5\n", "zero/metrics.csv: line 3 has no step"),
        ("stage.json", b"{", "zero/stage.json: not a JSON file"),
        ("stage.json", b"[]", "zero/stage.json: not the record of a stage"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(make_run, sketch, capsys, file, content, message):
    run = make_run("tiny", base=sketch(), zero=sketch(rollouts=[0.1, 0.9]))
    path = run / "zero" / file
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(InputError, match=message) as error:
        report(str(run))
    assert "delete" in str(error.value)
    assert main(["report", str(run)]) == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("r1lit: ")
    assert "\n" not in shown
    assert not (run / "report.html").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"metrics": {"pass@1": 0.5}},
        {"metrics": {"pass@1": {"value": 0.5}}},
        {"metrics": {"pass@1": {"value": "x", "low": 0, "high": 1, "n": 3}}},
        {"fingerprint": "x"},
        {"fingerprint": {"inputs": {"a": 3}}},
        {"versions": ["x"]},
    ],
    ids=str,
)
def test_a_record_of_another_form_is_no_record(make_run, sketch, wrong):
    run = make_run("tiny", base=sketch(), zero=sketch())
    path = run / "zero" / "stage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(InputError, match=r"zero/stage.json: not the record of a stage; delete it"):
        report(str(run))


@pytest.mark.parametrize(
    ("split", "column", "value", "message"),
    [
        ("eval", "prompt_id", None, "column 'prompt_id' has 1 empty rows"),
        ("eval", "figure/words", None, "has no count of words"),
        ("eval", "reward/accuracy", "yes", "column 'reward/accuracy' is of string, not numbers"),
        ("train", "text", None, "column 'text' has 1 empty rows"),
        ("train", "question", None, "column 'question' has 1 empty rows"),
        ("train", "step", None, "column 'step' has 1 empty rows"),
    ],
)
def test_a_table_with_gaps_or_of_other_types_is_named(make_run, sketch, split, column, value, message):
    run = make_run("tiny", base=sketch(), zero=sketch(rollouts=[0.1, 0.9]))
    path = run / "zero" / "samples.parquet"
    rows = pq.read_table(path).to_pylist()
    chosen = [row for row in rows if row["split"] == split and row["kind"] == "reasoning"]
    for row in chosen[:1] if value is None else rows:
        row[column] = value
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(InputError, match=rf"zero/samples.parquet: .*{message}.*; delete the stage's folder"):
        report(str(run))


def test_a_run_on_shuffled_rewards_says_so(make_run, sketch):
    run = make_run("tiny-placebo", base=sketch(), zero=sketch(rollouts=[0.1], placebo=True))
    assert "tiny-placebo: zero learned from shuffled rewards" in " ".join(summary_of(run)["notes"])


def test_energy_is_added_up_only_where_every_stage_tells_it(make_run, sketch):
    run = make_run("tiny", base=sketch(), zero=sketch())

    def total(energies):
        for stage, wh in energies.items():
            path = run / stage / "stage.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"energy_wh": wh}))
        report(str(run))
        return (run / "report.html").read_text().partition("<b>All</b>")[2].partition("</tr>")[0]

    assert "6.5" in total({"base": 2.5, "zero": 4.0})
    assert "2.5" not in total({"base": 2.5, "zero": None})


def test_a_metrics_line_cut_by_a_kill_is_no_error(make_run, sketch):
    run = make_run("tiny", base=sketch(), zero=sketch(rollouts=[0.1, 0.9]))
    with (run / "zero" / "metrics.csv").open("a") as file:
        file.write("2,3")
    assert summary_of(run)["stages"]["zero"]["updates"] == 3


def test_command_line(tiny, tmp_path, capsys):
    out = tmp_path / "elsewhere"
    assert main(["report", str(tiny), "--out", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["report.html", "summary.json"]
    shown = capsys.readouterr().out
    assert re.search(r"\d of 14 claims reproduced", shown)
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "no finished stage" in capsys.readouterr().err
