"""The workers of the examples, as their processes: each does its task, and one that is killed loses none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.node import NODE, installed
from tests.support.runner import wait_for
from tests.support.stack import Stack

FOLDER = Path(__file__).parents[2] / "examples" / "welcome_letter"
WORKERS = {"worker.py": sys.executable, "worker.sh": "sh", "worker.mjs": str(NODE)}


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    """The key of a worker, for the queue of the example and nothing else."""
    stack.import_file(FOLDER / "workflow.yaml")
    made = stack.api.rpc("create_api_key", name="printer", role="worker", queues=["print"])
    return str(made.json()["api_key"])


@contextmanager
def working(stack: Stack, key: str, file: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker at work; what it prints goes to `folder`/out."""
    shutil.copy(FOLDER / file, folder)
    if file.endswith(".mjs") and not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(installed("postgrest"))
    known = {"FLOWGRES_API_URL": stack.api.url, "FLOWGRES_FRONT_URL": stack.front.url, "FLOWGRES_API_KEY": key}
    with (folder / "out").open("a") as out:
        process = subprocess.Popen(
            [WORKERS[file], file],
            cwd=folder,
            env={"PATH": os.environ["PATH"], **known},
            stdout=out,
            stderr=out,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # A shell leaves what it has started behind: its curl would take the next task.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("file", ["worker.py", "worker.sh", pytest.param("worker.mjs", marks=pytest.mark.slow)])
def test_a_worker_does_its_tasks(stack: Stack, key: str, file: str, tmp_path: Path) -> None:
    with working(stack, key, file, tmp_path):
        # One after the other: it waits for the second as for the first.
        for name in ("Ann", "Bob"):
            execution = stack.run("welcome_letter", {"name": name})
            assert execution["output"] == {"pages": 1}, (tmp_path / "out").read_text()
    said = (tmp_path / "out").read_text()
    assert said.count("prints: Dear Ann, welcome.") == said.count("prints: Dear Bob, welcome.") == 1


def test_a_worker_in_python_has_at_most_forty_lines() -> None:
    assert len((FOLDER / "worker.py").read_text().splitlines()) <= 40


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(stack: Stack, key: str, tmp_path: Path) -> None:
    definition = (FOLDER / "workflow.yaml").read_text().replace("welcome_letter", "many_letters").replace("30s", "1s")
    # However often the same letter meets a worker that dies.
    (tmp_path / "workflow.yaml").write_text(definition.replace("attempts: 3", "attempts: 50"))
    stack.import_file(tmp_path / "workflow.yaml")
    ids = [stack.start("many_letters", {"name": f"N{number}"}) for number in range(60)]

    def open_ones() -> int:
        rows = stack.api.get("/executions", params={"workflow_name": "eq.many_letters", "status": "neq.completed"})
        return len(rows.json())

    for round_number in range(5):
        with working(stack, key, "worker.py", tmp_path) as process:
            goal = 60 - 8 * (round_number + 1)
            wait_for(lambda goal=goal: open_ones() <= goal, timeout_seconds=60, what="some letters")  # type: ignore[misc]
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    with working(stack, key, "worker.py", tmp_path):
        wait_for(lambda: open_ones() == 0, timeout_seconds=60, what="all letters")

    assert {stack.get(one)["status"] for one in ids} == {"completed"}
    printed = Counter(line.partition("prints: ")[2] for line in (tmp_path / "out").read_text().splitlines())
    assert all(printed[f"Dear N{number}, welcome."] >= 1 for number in range(60))
    ends = stack.api.get("/execution_events", params={"type": "eq.step_completed", "step": "eq.print"}).json()
    assert Counter(row["execution_id"] for row in ends if row["execution_id"] in ids) == dict.fromkeys(ids, 1)
