"""The benchmark of training runs to its end and reports every stage with what it is compared to."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from pseudolabel.bench import main
from pseudolabel.benchmarks import train as benchmark
from pseudolabel.benchmarks.measure import Report
from pseudolabel.benchmarks.train import TrainBenchmark

WIDTH = 0.1


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Short clips and few of everything; the number of threads is as it was afterwards."""
    for name, value in (("CLIP_S", 2), ("WINDOW_S", 1), ("N_CLASSES", 527), ("BATCH_SIZE", 2), ("ROUNDS", 1),
                        ("WHOLE_CLIPS", {"cpu": 2}), ("MATRIX", {"cpu": 64})):  # fmt: skip
        monkeypatch.setattr(benchmark, name, value)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_every_stage_is_reported(tmp_path, capsys):
    options = ["--work", str(tmp_path), "--steps", "2", "--width", str(WIDTH), "--threads", "1", "--device", "cpu"]
    assert main(["train", *options, "--teachers", "mobilenetv2", "efficientnet_b0"]) == 0
    report = json.loads((tmp_path / "bench/train/report.json").read_text())
    assert [(stage["name"], stage["than"], stage["unit"]) for stage in report["stages"]] == [
        ("step with mobilenetv2 as the teacher", "", "windows"),
        ("step with stored targets", "step with mobilenetv2 as the teacher", "windows"),
        ("step with efficientnet_b0 as the teacher", "", "windows"),
        ("step with stored targets", "step with efficientnet_b0 as the teacher", "windows"),
        ("training loop from pcm16", "", "windows"),
        ("training loop from flac", "", "windows"),
        ("float32 products of 64 x 64 matrices", "", "products"),
        ("train mobilenetv2 on clips of 2 s in memory", "", "clips"),
    ]
    stages = report["stages"]
    assert all(stage["seconds"] > 0 and stage["items"] > 0 for stage in stages)
    assert stages[1]["ratio"] > 0 and stages[3]["ratio"] > 0
    assert all("the device waits" in stage["note"] for stage in stages[4:6])
    assert "of the rate of matrices" in stages[7]["note"]
    assert report["facts"]["compiled"] == "measured on a GPU only"
    assert not (tmp_path / "bench/train/run").exists()
    assert "times as fast as step with mobilenetv2" in capsys.readouterr().out


def test_operations_are_those_of_every_convolution_three_times(tmp_path):
    measured = TrainBenchmark(tmp_path, 1, (), (), False, WIDTH, torch.device("cpu"), 1)
    tagger, expected, n_clips = measured._tagger("mobilenetv2").eval(), 0, 3

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal expected
        expected += 3 * 2 * output.numel() * layer.weight[0].numel()

    for layer in tagger.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    found = measured._flops(tagger, torch.randn(n_clips, 16_000))
    assert found == expected > 0


def test_the_rate_of_matrices_counts_a_product_and_a_sum_for_each_term(tmp_path):
    measured, report = TrainBenchmark(tmp_path, 1, (), (), False, WIDTH, torch.device("cpu"), 1), Report("train")
    rate = measured._matrix_rate(report)
    (stage,) = report.stages
    assert rate == pytest.approx(2 * 64**3 * benchmark.MATRIX_TIMES / stage.seconds)
