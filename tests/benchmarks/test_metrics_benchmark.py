"""The benchmark of metrics: every stage is reported, and both programs agree."""

from __future__ import annotations

import json

from pseudolabel.bench import main


def test_every_stage_is_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["metrics", "--clips", "300", "--classes", "4", "--resamples", "5", "--out", "report.json"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    names = ["scikit-learn's average precision alone", "all metrics", "draws of the clips", "all metrics of every draw"]
    assert [stage["name"] for stage in report["stages"]] == names
    assert report["stages"][1]["ratio"] > 0 and report["stages"][3]["items"] == 5
    assert report["facts"]["difference of AP"] < 1e-9 and "standard deviation" in capsys.readouterr().out
