"""Two reviews on one Label Studio server, as docs/review.md describes it; the estimate from each export. Run by hand:

    python -m venv label-studio && label-studio/bin/pip install label-studio
    python tests/reviews/label_studio_round_trip.py --label-studio label-studio/bin/label-studio --out round-trip

Makes two small corpora and a review of each, starts a server of its own, makes a project for each review, compares the
sound that the server sends for each task with the review's file, judges through the API, and exports. All exports of a
review must give the same estimates. With --pictures, Chromium (playwright) also takes a picture of each labelling page,
and the text of the page must show every value of the task. Takes about 3 minutes, most of it the server's first start.
`export/` beside this file was made by it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel import cli
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reviews.items import read_sample
from pseudolabel.scores.store import ScoreStore

ANNA, BEN = "anna@example.org", "ben@example.org"
EXPORTS = {"export.json": "JSON", "export-min.json": "JSON_MIN", "export.csv": "CSV", "export.tsv": "TSV"}
QUIET = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": ""}
WIDE = {"width": 1500, "height": 1100}


@dataclass(frozen=True)
class Server:
    """A Label Studio server on this machine."""

    address: str
    token: str
    password: str

    def send(self, method: str, path: str, body: object = None, signed_in: bool = True) -> bytes:
        """Return the answer to a request."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Token {self.token}"} if signed_in else {})
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, content, headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def post(self, path: str, body: object) -> dict:
        """Send something to the API; return its answer."""
        return json.loads(self.send("POST", path, body))


@contextmanager
def running(program: Path, folder: Path, sound: Path):
    """Start a server with its files in `folder`, which may serve what is below `sound`; stop it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(f"http://127.0.0.1:{port}", secrets.token_hex(20), secrets.token_hex(8))
    variables = {"LOCAL_FILES_SERVING_ENABLED": "true", "LOCAL_FILES_DOCUMENT_ROOT": str(sound.resolve())}
    variables = {f"LABEL_STUDIO_{name}": value for name, value in variables.items()}
    command = [program, "start", "--no-browser", "--data-dir", folder, "--internal-host", "127.0.0.1", "--port", port]
    command += ["--username", ANNA, "--password", server.password, "--user-token", server.token]
    command += ["--enable-legacy-api-token"]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(
            list(map(str, command)), env=os.environ | variables | QUIET, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(server, process)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def wait_for(server: Server, process: subprocess.Popen, seconds: float = 600) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        try:
            server.send("GET", "/api/users")
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
        else:
            return
    raise SystemExit("the server does not answer: see server.log")


def run(*argv: object) -> None:
    """Run a verb."""
    assert cli.main([str(word) for word in argv]) == 0, argv


def make_review(work: Path, seed: int, *options: str) -> Path:
    """Make a work folder of 32 scenes with random scores, and a review of what they add; return the review's folder."""
    sizes = ("--scenes", 24, "--balanced", 8, "--validation", 4, "--eval", 4, "--duration", 4, "--sources", 10)
    run("simulate", "--work", work, *sizes, "--processes", 1, "--seed", seed)
    run("prepare", "--work", work, "--processes", 1)
    vocabulary = Vocabulary.load(work / "vocabulary.csv")
    clip_ids = LabelTable.read(work / "labels.csv", vocabulary).clip_ids
    windows = np.random.default_rng(seed).random((len(clip_ids), 2, len(vocabulary)))
    scores = {"clip": windows.max(axis=1), 2: windows}
    ScoreStore.write(work / "scores.h5", clip_ids, vocabulary.class_ids, scores)
    run("enhance", "--work", work, "--threshold", "mean", "--evidence", "2s")
    run("review", "page", "--work", work, "--budget", 8, "--label-studio", *options)
    return work / "review"


def make_project(server: Server, review: Path, sound: Path) -> tuple[int, list[dict]]:
    """Make a project of a review: interface, storage, tasks. Return its number and its tasks."""
    page = read_sample(review).page
    shutil.copytree(review / "audio", sound, dirs_exist_ok=True)
    title = {"title": f"Review {page}", "label_config": (review / "label_studio.xml").read_text(encoding="utf-8")}
    project = server.post("/api/projects", title)["id"]
    storage = {"project": project, "title": "sound", "path": str((sound / page).resolve()), "use_blob_urls": True}
    server.post("/api/storages/localfiles", storage)
    server.post(f"/api/projects/{project}/import", json.loads((review / "label_studio.json").read_text()))
    tasks = json.loads(server.send("GET", f"/api/tasks?project={project}&fields=all"))["tasks"]
    return project, sorted(tasks, key=lambda task: task["data"]["item"])


def check_sound(server: Server, review: Path, tasks: list[dict]) -> None:
    """Check that the server sends for each task the recording that the review's page plays, and only to its users."""
    clips = [item.clip_id for item in read_sample(review).items]
    numbers = {clip: number for number, clip in enumerate(dict.fromkeys(clips), 1)}
    for task in tasks:
        page, clip = task["data"]["page"], task["data"]["clip_id"]
        sent = server.send("GET", task["data"]["audio"])
        assert sent == (review / "audio" / page / f"{numbers[clip]:04d}.flac").read_bytes(), task["data"]
        try:
            server.send("GET", task["data"]["audio"], signed_in=False)
            raise SystemExit("the sound is sent to everybody")
        except urllib.error.HTTPError as error:
            assert error.code in (401, 403)


def judge(server: Server, task: dict, choice: str, judge: int, cancelled: bool = False) -> None:
    """Judge a task as the labelling page does."""
    chosen = {"from_name": "decision", "to_name": "label", "type": "choices", "value": {"choices": [choice]}}
    body = {"result": [chosen], "was_cancelled": cancelled, "lead_time": 3.2, "completed_by": judge}
    server.post(f"/api/tasks/{task['id']}/annotations", body)


def judge_all(server: Server, tasks: list[dict], judges: list[int]) -> None:
    """Judge every task but the last; the first twice, the second by two people, the third is skipped."""
    choices = ["wrong", "right", "right", "unsure", "wrong", "right", "right"]
    for task, choice in zip(tasks, choices, strict=False):
        judge(server, task, choice, judges[0], cancelled=task is tasks[2])
    judge(server, tasks[0], "right", judges[0])
    judge(server, tasks[1], "wrong", judges[1])


def estimates(work: Path, export: Path) -> bytes:
    """Return the estimates from an export."""
    out = export.with_name(f"{export.name}-result")
    run("review", "estimate", export, "--work", work, "--out", out)
    return (out / "precision.json").read_bytes()


def take_pictures(server: Server, project: int, tasks: list[dict], folder: Path) -> None:
    """Take a picture of a project's first labelling page; check that it shows the task's values and nothing else."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--mute-audio"])
        page = browser.new_page(viewport=WIDE)
        page.goto(f"{server.address}/user/login/")
        page.fill("input[name=email]", ANNA)
        page.fill("input[name=password]", server.password)
        page.press("input[name=password]", "Enter")
        page.wait_for_url(lambda url: "/login" not in url)
        page.goto(f"{server.address}/projects/{project}/data?task={tasks[-1]['id']}")
        page.get_by_text("Is this sound in the clip?").wait_for(timeout=60_000)
        page.wait_for_timeout(10_000)  # the waveform is drawn
        text = page.inner_text(".lsf-main-view")
        page.screenshot(path=folder / f"{tasks[-1]['data']['page']}.png")
        browser.close()
    assert all(tasks[-1]["data"].get(name, "") in text for name in ("label", "window", "labels", "why")), text
    assert "predictions" not in text, text


def main() -> None:
    """Run the round trip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label-studio", type=Path, required=True, help="the program, in an environment of its own")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--pictures", action="store_true", help="also look at the labelling pages in Chromium")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    for name in ("server", "sound"):
        (out / name).mkdir(parents=True)
    works = [out / "one", out / "two"]
    reviews = [make_review(works[0], 1), make_review(works[1], 2, "--blind")]
    with running(arguments.label_studio, out / "server", out / "sound") as server:
        ben = {"email": BEN, "username": "ben", "password": secrets.token_hex(8)}
        judges = [json.loads(server.send("GET", "/api/users"))[0]["id"], server.post("/api/users", ben)["id"]]
        projects = [make_project(server, review, out / "sound") for review in reviews]
        for work, review, (project, tasks) in zip(works, reviews, projects, strict=True):
            check_sound(server, review, tasks)
            judge_all(server, tasks, judges)
            if arguments.pictures:
                take_pictures(server, project, tasks, out)
            found = set()
            for name, kind in EXPORTS.items():
                content = server.send("GET", f"/api/projects/{project}/export?exportType={kind}")
                (work / name).write_bytes(content)
                found.add(estimates(work, work / name))
            assert len(found) == 1, "the exports give different estimates"
            print(f"{review}: sound of {len(tasks)} tasks as on the page, {len(EXPORTS)} exports with equal estimates")


if __name__ == "__main__":
    main()
