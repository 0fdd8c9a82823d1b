"""The processes of a run under `torchrun`: which one this is, and what they exchange.

They exchange a few numbers over gloo, even when they use GPUs; only gradients go from GPU to GPU. When a process dies,
all others end because their connection closes; when torchrun itself is killed, the processes it started end too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.errors import InputError, first_line

if TYPE_CHECKING:
    from torch import Tensor

TORCHRUN = "TORCHELASTIC_RUN_ID"  # environment variable that torchrun sets
LOOKS_EVERY_S = 1.0  # interval of checks that the parent process is alive
ORPHANED = 1  # exit code
LONGEST_WAIT = timedelta(days=7)  # for the slowest process; a dead one is noticed at once


@dataclass(frozen=True)
class Ranks:
    """This process's place in a run: `rank` of `size`, `local_rank` on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Ranks:
        """Read RANK, WORLD_SIZE and LOCAL_RANK; without WORLD_SIZE, the run is a single process."""
        if "WORLD_SIZE" not in environment:
            return cls()
        values = {name: environment.get(name, "0") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
        try:
            ranks = cls(*map(int, values.values()))
        except ValueError:
            ranks = None
        if ranks is None or not 0 <= ranks.rank < ranks.size or ranks.local_rank < 0:
            given = ", ".join(f"{name}={value}" for name, value in values.items())
            raise InputError(f"{given} is not a process of a run", "environment", "Start it with torchrun.")
        return ranks

    @property
    def leads(self) -> bool:
        """Whether this is the process that does what only one may do."""
        return self.rank == 0

    def device_name(self, name: str) -> str:
        """Resolve `--device` for this process: under `auto`, each process on a machine gets its own GPU."""
        if name != "auto" or self.size == 1:
            return name
        import torch

        return f"cuda:{self.local_rank}" if torch.cuda.is_available() else "cpu"

    @contextlib.contextmanager
    def joined(self, on_gpu: bool = False) -> Iterator[None]:
        """Connect all processes while the block runs; `on_gpu`: exchange tensors on GPUs by NCCL.

        From then on, a thread ends this process if the torchrun that started it is gone.

        Raises:
            InputError: here, in `from_leader`, `sum` or `adopt`: another process ended before its work was done.
        """
        if self.size == 1:
            yield
            return
        import torch.distributed as dist

        if TORCHRUN in os.environ:
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        with self._others_alive():
            backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
            dist.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=LONGEST_WAIT)
        try:
            yield
        finally:
            dist.destroy_process_group()

    @contextlib.contextmanager
    def _others_alive(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            message = f"another of the {self.size} processes has ended before its work was done"
            reason = first_line(error)[:160]
            remedy = f"Run the same command again: it goes on where this one was ({reason})."
            raise InputError(message, f"rank {self.rank}", remedy) from error

    def from_leader(self, numbers: np.ndarray) -> np.ndarray:
        """Return the leader's integers, as many as `numbers`; the others wait for it."""
        return self._exchanged(np.array(numbers, np.int64), lambda dist, shared: dist.broadcast(shared, 0))

    def sum(self, numbers: np.ndarray) -> np.ndarray:
        """Sum numbers over all processes, in float64; the processes wait for each other."""
        return self._exchanged(np.array(numbers, np.float64), lambda dist, shared: dist.all_reduce(shared))

    def adopt(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors in place with the leader's."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with self._others_alive():
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def _exchanged(self, numbers: np.ndarray, exchange: Callable) -> np.ndarray:
        if self.size == 1:
            return numbers
        import torch
        import torch.distributed as dist

        shared = torch.from_numpy(numbers)
        with self._others_alive():
            exchange(dist, shared)
        return shared.numpy()


def _end_with(parent: int) -> None:
    """End this process, whatever it is doing, once its parent is gone: nobody else would."""
    while os.getppid() == parent:
        time.sleep(LOOKS_EVERY_S)
    os._exit(ORPHANED)


ALONE = Ranks()
