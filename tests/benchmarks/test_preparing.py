"""What `prepare` is compared with decodes every recording, and what is drawn is what it says."""

from __future__ import annotations

import pytest
import soundfile

from pseudolabel.benchmarks import preparing
from pseudolabel.benchmarks.measure import Report, Stage
from pseudolabel.benchmarks.preparing import decode_alone, draw_recordings, flat


def test_drawn_recordings_repeat_a_few_different_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "N_DIFFERENT", 2)
    paths = draw_recordings(tmp_path / "drawn", 5, 0.5)
    contents = [path.read_bytes() for path in paths]
    assert len(paths) == 5 and contents[0] != contents[1]
    assert contents[2:] == [contents[0], contents[1], contents[0]]
    assert soundfile.info(paths[4]).frames == 22_050


def test_decoding_alone_opens_every_recording(tmp_path):
    paths = draw_recordings(tmp_path / "drawn", 3, 0.1)
    decode_alone(paths, 1)
    paths[2].unlink()
    paths[2].write_text("no audio")
    with pytest.raises(soundfile.LibsndfileError):
        decode_alone(paths, 1)


def test_memory_of_more_clips_is_told_beside_that_of_fewer():
    report = Report("test", stages=[Stage("few", 10, peak_bytes=2_000_000), Stage("many", 40, peak_bytes=2_500_000)])
    flat(report)
    assert report.stages[1].note == "+0.5 MB for 30 clips more"
