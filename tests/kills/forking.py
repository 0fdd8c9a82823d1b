"""A process that has imported every verb and forks a child for each command: each starts at once and may be killed.

It reads requests from standard input, a JSON object a line, and answers each in a line:

  {"do": "start", "argv": [module, option, ...], "root": DIR, "cwd": DIR, "out": FILE, "calls": FILE} -> its process id
      "at": [number of a call, "before" or "after"], "signal": sent to itself at that call of the file system
      "states": DIR: before and after each call the root is copied there, as N-before and N-after: what is on the disk
          if the process is killed then; with "visible" only for calls that give or take a name outside hidden folders
      "file_bytes": no file may become larger: a full disk
  {"do": "wait", "pid": N, "seconds": S or null, "signal": K} -> {"status": exit code or -signal, null: it is stopped}
      after S seconds, and not before, the signal is sent to it
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import threading
import time
import traceback

NAMING = ("replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "symlink", "fsync")
LIBRARIES = (
    "torch", "torchaudio", "timm", "sklearn.isotonic", "sklearn.linear_model", "matplotlib.backends.backend_agg",
    "pyarrow.parquet", "pyarrow.csv", "pyarrow.compute", "scipy.stats", "scipy.signal", "soundfile", "jinja2", "yaml",
    "multiprocessing.spawn", "concurrent.futures.process", "PIL.Image",
)  # fmt: skip


class Moments:
    """Counts and notes the calls that change names below `root`; copies it at each, or sends a signal at one."""

    def __init__(self, request: dict):
        self.root, self.at, self.n = os.path.realpath(request["root"]), tuple(request.get("at") or ()), 0
        self.signal = getattr(signal, request.get("signal", "SIGKILL"))
        self.states, self.visible = request.get("states"), request.get("visible", False)
        self.calls = os.open(request["calls"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.lock, self.copying = threading.Lock(), threading.local()
        for name in NAMING:
            setattr(os, name, self.counted(name, getattr(os, name)))
        from pseudolabel import artefacts

        artefacts._exchange = self.counted("exchange", artefacts._exchange)  # a call of the system's that os lacks

    def counted(self, name: str, call):
        @functools.wraps(call)
        def moment(*given, **named):
            path = self.path_of(name, given, named)
            if path is None or getattr(self.copying, "now", False):
                return call(*given, **named)
            with self.lock:
                number, self.n = self.n, self.n + 1
            os.write(self.calls, f"{name} {path}\n".encode())
            self.meet(number, "before", name, path)
            try:
                return call(*given, **named)
            finally:
                self.meet(number, "after", name, path)

        return moment

    def path_of(self, name: str, given: tuple, named: dict) -> str | None:
        """Return what the call names, below the root; None where it does not count."""
        which = int(name in ("replace", "rename", "link", "symlink", "exchange"))
        path = given[which] if len(given) > which else None
        folder = named.get("dst_dir_fd", named.get("dir_fd"))
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif folder is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
        path = os.path.abspath(os.fsdecode(path))
        return os.path.relpath(path, self.root) if path.startswith(self.root) else None

    def meet(self, number: int, when: str, name: str, path: str) -> None:
        if self.states and not (self.visible and is_inner(name, path)):
            with self.lock:
                self.copying.now = True
                shutil.copytree(self.root, os.path.join(self.states, f"{number:04d}-{when}"), symlinks=True)
                self.copying.now = False
        if self.at == (number, when):
            os.kill(os.getpid(), self.signal)


def is_inner(name: str, path: str) -> bool:
    """Return whether a call gives or takes no name that lies outside hidden folders."""
    return name in ("fsync", "mkdir") or any(part.startswith(".") for part in path.split("/")[:-1])


def be_child(request: dict) -> None:
    """Run the command and end the process."""
    os.setpgid(0, 0)
    os.chdir(request["cwd"])
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
        os.dup2(target, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    module, *options = request["argv"]
    sys.argv = [module, *options]
    code = 70
    try:
        Moments(request)
        code = importlib.import_module(module).main(options)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code or 0)


def wait(pid: int, seconds: float | None, number: str | None) -> int | None:
    """Return how the child ended; send it a signal after so many seconds; None where it has stopped itself."""
    until = None if seconds is None else time.monotonic() + seconds
    give_up = time.monotonic() + 120
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if ended:
            return None if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        if until is not None and now >= until:
            os.kill(pid, getattr(signal, number))
            until = None
        if now > give_up:
            os.kill(pid, signal.SIGKILL)
            until, give_up = None, now + 120
        time.sleep(0.002)


def draw_a_letter() -> None:
    """Draw a figure, which reads the fonts: children find them read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().set_title("a")
    FigureCanvasAgg(figure).draw()


def main() -> None:
    import pseudolabel

    for module in pkgutil.walk_packages(pseudolabel.__path__, "pseudolabel."):
        with contextlib.suppress(Exception):  # whoever uses it will say what is wrong
            importlib.import_module(module.name)
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    import torch

    torch.set_num_threads(1)
    draw_a_letter()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            started = time.monotonic()
            pid = os.fork()
            if not pid:
                be_child(request)
            answer = {"pid": pid, "started": started}
        else:
            answer = {"status": wait(request["pid"], request.get("seconds"), request.get("signal"))}
            answer["now"] = time.monotonic()
        print(json.dumps(answer), flush=True)
    os._exit(0)  # at once: it has nothing to put in order


if __name__ == "__main__":
    main()
