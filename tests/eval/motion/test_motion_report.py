"""The written report: results.json agrees with the scores, the page needs nothing beside it."""

import json
import re
from html.parser import HTMLParser

import pytest

from moda.cli.main import main
from moda.eval.metrics.base import Score
from moda.eval.motion.figures import read_series, training_curves
from moda.eval.motion.protocol import evaluate
from moda.eval.motion.report import write_report
from moda.eval.motion.showcase import choose_examples
from moda.eval.tables import markdown, number, tables_of

ROWS = ["ground truth", "mean pose", "mismatched audio", "model"]  # the test split alone: nothing to train baselines on


class Page(HTMLParser):
    """Sources of everything that the page would load, and its text."""

    def __init__(self, html):
        super().__init__()
        self.sources, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.sources += [
            v for k, v in attributes if k in ("src", "href", "xlink:href") and not (v or "").startswith("#")
        ]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def written(filmed_dataset, make_run, codec, protocol, tmp_path):
    run = make_run(filmed_dataset)
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "train/loss": 2.0}\n{"step": 2, "train/loss": 1.0, "lr": 0.1}\n{"st'
    )
    evaluation = evaluate(protocol(run, seeds=1, derangements=1))
    return evaluation, write_report(evaluation, tmp_path / "evaluation")


def test_results_hold_rows_by_columns_and_their_origin(written):
    evaluation, files = written
    results = json.loads(files["results"].read_text())
    assert [row["title"] for row in results["rows"].values()] == ROWS
    for row, scores in evaluation.scores.items():
        for metric, score in scores.items():
            stored = results["rows"][row]["scores"][metric]
            assert stored["value"] == score.value and stored["n"] == score.n
            assert metric in results["metrics"]
    assert results["provenance"]["step"] == 7
    assert results["provenance"]["dataset_fingerprint"] == evaluation.manifest.fingerprint
    assert {clip["key"] for clip in results["clips"]} == {"dan_000", "dan_001", "dan_002"}


def test_the_page_stands_alone_and_says_the_same(written):
    evaluation, files = written
    page = Page(files["report"].read_text())
    assert page.sources and all(source.startswith("data:") for source in page.sources)
    assert any(source.startswith("data:video/mp4") for source in page.sources)
    assert sum(source.startswith("data:image/jpeg") for source in page.sources) == 6  # two clips, three panels
    lips = evaluation.scores["model"]["lip_correlation"]
    assert number(lips.value, 2) in page.text and "dan_001" in page.text
    assert len(re.findall("<svg", files["report"].read_text())) == 4  # three clips, one training
    assert files["comparison"].stat().st_size > 1000


def test_without_pictures_the_report_is_written_and_says_so(tiny_dataset, make_run, codec, protocol, tmp_path):
    files = write_report(evaluate(protocol(make_run(tiny_dataset), seeds=1, derangements=1)), tmp_path / "out")
    assert set(files) == {"results", "report"}
    assert "is not rendered" in Page(files["report"].read_text()).text


def test_the_command_writes_and_prints(filmed_dataset, make_run, codec, capsys):
    run = make_run(filmed_dataset)
    assert (
        main(
            [
                "evaluate",
                f"run={run}",
                "protocol=motion",
                "steps=1",
                "seeds=2",
                "derangements=1",
                "examples=1",
                "minutes=0.5",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert (run / "evaluation" / "report.html").is_file()
    results = json.loads((run / "evaluation" / "results.json").read_text())
    assert {"lip_correlation", "audio_visual_lag", "frechet_motion", "diversity", "smoothness"} <= set(
        results["metrics"]
    )
    assert results["rows"]["model"]["scores"]["diversity"]["value"] > 0
    assert "mismatched audio" in printed and str(run / "evaluation" / "report.html") in printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "run is not given"),
        (["run={run}", "split=exam"], "no 'exam' split"),
        (["run={run}", "data.path={run}"], "is not a prepared data set"),
    ],
)
def test_the_command_reports_errors_in_one_line(filmed_dataset, make_run, codec, capsys, overrides, message):
    run = make_run(filmed_dataset)
    assert main(["evaluate", "protocol=motion", *(text.format(run=run) for text in overrides)]) == 1
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error
    assert not (run / "evaluation").exists()


def test_tables_leave_out_what_no_row_has():
    metric = {"title": "r", "unit": "", "group": "lips", "digits": 2, "better": "", "meaning": ""}
    score = {"value": 0.614, "interval": [0.5, 0.7], "n": 3}
    none = {"value": None, "interval": None, "n": 0}
    results = {
        "metrics": {"r": metric, "absent": metric | {"title": "absent"}},
        "rows": {
            "model": {"title": "model", "scores": {"r": score, "absent": none}},
            "mean": {"title": "mean", "scores": {"r": none, "absent": none}},
        },
    }
    [table] = tables_of(results)
    assert [m["title"] for m in table.header] == ["r"] and [title for title, _ in table.rows] == ["model", "mean"]
    lines = markdown([table]).splitlines()
    assert lines[2] == "| r | 0.61 [0.50, 0.70] |    – |" and len({len(line) for line in lines}) == 1
    assert markdown([table], intervals=False).splitlines()[2] == "| r |  0.61 |    – |"
    assert number(-0.001, 2) == "0.00"


def test_examples_are_the_median_the_best_and_the_worst():
    score = Score(0.5, None, 5, {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.4, "e": 0.7})
    chosen = choose_examples(score, [], 3)
    assert list(chosen) == ["c", "b", "a"]
    assert chosen["b"].startswith("best") and chosen["a"].startswith("worst")
    assert list(choose_examples(score, [], 1)) == ["c"]


def test_training_curves_are_read_by_phase(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "train/loss": 2.0, "lr": 1}\n{"step": 5, "val/loss": 3.0}\n{"step": 9, "tr')
    series = read_series(path)
    assert series == {"loss": {"train": [(1, 2.0)], "val": [(5, 3.0)]}}
    svg = training_curves(series)
    assert svg.startswith("<svg") and "currentColor" in svg and "#010203" not in svg
    assert read_series(tmp_path / "none") == {}
