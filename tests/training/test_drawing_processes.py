"""Two processes that draw, read and weigh a step each for itself: together they have what one alone has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STEPS = """
import sys
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.models.tagger import build_tagger
from pseudolabel.training.batches import augmented, read_batch
from pseudolabel.training.dataset import clip_examples
from pseudolabel.training.distributed import Ranks
from pseudolabel.training.drawing import draw_step
from pseudolabel.training.options import SAMPLINGS, AugmentOptions, SamplingOptions

folder, ranks = Path(sys.argv[1]), Ranks.from_environment()
torch.set_num_threads(1)
clips = ClipStore.open(folder / "clips.h5")
labels = sparse.csr_array(np.eye(3, dtype=bool)[[0, 0, 0, 0, 1, 1, 2, 2]])
mask = sparse.csr_array(np.eye(3, dtype=bool)[[1, 2, 0, 1, 2, 0, 1, 2]])
tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["a", "b", "c"], "options": {"width": 0.1}})
found = {}
with ranks.joined():
    for number, rule in enumerate(SAMPLINGS):
        sampling = SamplingOptions(rule, 1.0 if rule in ("max-rule", "repeat") else None)
        examples = clip_examples(clips, np.arange(8), labels, 8000, sampling, mask)
        order = examples.order(5, number)
        same = ranks.from_leader(order)
        assert np.array_equal(same, order)
        for partner, domain in (("batch", "waveform"), ("uniform", "waveform"), ("batch", "energy")):
            options = AugmentOptions(0.5, 10, partner, domain, gain_db=6, shift_s=0.2, time_mask_s=0.3, mel_mask=9)
            draw = draw_step(order[:6], examples.n_pieces, options, 5, number, ranks.rank, ranks.size)
            batch = augmented(read_batch(examples, draw), tagger, options)
            n_unmasked = ranks.sum(np.array([float((~batch.masked).sum())]))
            found |= {f"{rule} {partner} {domain} {name}": array for name, array in {
                "pieces": draw.pieces[:draw.n], "features": batch.waveforms.numpy(), "targets": batch.targets.numpy(),
                "masked": batch.masked.numpy(), "unmasked of all": np.repeat(n_unmasked, draw.n)}.items()}
np.savez(folder / f"{ranks.size}-{ranks.rank}.npz", **found)
"""


def steps_of(folder: Path, size: int, port: int) -> dict[str, np.ndarray]:
    """Return what `size` processes have of some steps, that of the second after that of the first."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-c", STEPS, str(folder)], env={**environment, "RANK": str(rank)},
                         stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]  # fmt: skip
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert not any(process.returncode for process in processes), errors
    parts = [np.load(folder / f"{size}-{rank}.npz") for rank in range(size)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0].files}


def test_two_processes_take_the_steps_of_one_to_the_last_bit(write_tones, tmp_path, free_port):
    """Under every sampling rule and kind of mixup, with gain, shift, masks and labels that the loss does not see."""
    folder = write_tones(tmp_path, [1.0, 0.4, 0.7, 0.5, 1.0, 0.6, 0.9, 1.2])
    alone, two = (steps_of(folder, size, free_port) for size in (1, 2))
    assert alone.keys() == two.keys() and len(alone) == 5 * 3 * 5
    for name in alone:
        assert len(alone[name]) == 6
        assert np.array_equal(alone[name], two[name]), name
        assert not name.endswith(" masked") or 0 < alone[name].sum() < alone[name].size
