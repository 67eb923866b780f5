"""Three machines at one folder that each sees through caches of its own, as network file systems have them: a mount and a host name for each.

What one machine writes another may see a second later, and a lock that one takes is none for the others. Skipped, with the reason, where nothing may be mounted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench import PROGRAM, SKIPPED_DOCUMENTS, Bench, temporary_folder, wait_for

MACHINES = 3
LAG = 1
PATIENCE = 4 * LAG

pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="the program is not built"),
    pytest.mark.skipif(not shutil.which("bindfs") or not shutil.which("unshare"), reason="bindfs or unshare is not installed"),
]


class Machine:
    """Sees the folder `server` as `mount`."""

    def __init__(self, server: Path, number: int) -> None:
        self.mount, self.name = server.parent / f"machine{number}", f"machine{number}"
        self.mount.mkdir()
        done = subprocess.run(["bindfs", "-o", f"attr_timeout={LAG},entry_timeout={LAG}", str(server), str(self.mount)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"nothing can be mounted here: bindfs: {done.stderr.strip()}")
        done = subprocess.run(["unshare", "--uts", "hostname", self.name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            self.remove()
            pytest.skip(f"no host names of one's own here: unshare: {done.stderr.strip()}")

    def start(self, bench: Bench, *options: str, **environment: str) -> subprocess.Popen[str]:
        command = bench.command(self.mount / "out", "--patience", str(PATIENCE), *options)
        return subprocess.Popen(["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *command], cwd=bench.folder,
                                env={**bench.environment, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def remove(self) -> None:
        subprocess.run(["fusermount", "-u", str(self.mount)], capture_output=True, check=False)


@pytest.fixture(scope="module")
def bench():
    with temporary_folder("lagging") as name:
        yield Bench(Path(name), documents=24, longest=8, layers=1)


@pytest.fixture
def server(bench):
    folder = bench.folder / "server"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def machines(server):
    made: list[Machine] = []
    try:
        for number in range(MACHINES):
            made.append(Machine(server, number))
        yield made
    finally:
        for machine in made:
            machine.remove()
            machine.mount.rmdir()


def test_workers_of_several_machines(bench, machines, server):
    for turn in range(3):
        for worker in [machine.start(bench, "--cluster", "folder") for machine in machines]:
            bench.finish(worker)
        bench.check(server / "out", f"turn {turn}")
        shutil.rmtree(server / "out")
        time.sleep(LAG)


def test_a_killed_machine(bench, machines, server):
    """Its claims are free when nothing has been heard of it for as long as the others are patient."""
    first = machines[0].start(bench, "--cluster", "folder")
    wait_for(lambda: list(server.glob("out/claims/shard-*")))
    first.kill()
    first.communicate()
    for worker in [machine.start(bench, "--cluster", "folder") for machine in machines[1:]]:
        bench.finish(worker)
    bench.check(server / "out")


def test_a_stopped_machine(bench, machines, server):
    """What it had begun is done by others before it goes on; it finds out, and that is no failure."""
    first = machines[0].start(bench, "--cluster", "folder")
    wait_for(lambda: list(server.glob("out/claims/shard-*")))
    first.send_signal(signal.SIGSTOP)
    for worker in [machine.start(bench, "--cluster", "folder") for machine in machines[1:]]:
        bench.finish(worker)
    bench.check(server / "out", "while a worker was stopped")
    first.send_signal(signal.SIGCONT)
    bench.finish(first)
    bench.check(server / "out", "after it came back")


def test_tasks_of_an_array(bench, machines, server):
    """They end at nearly the same time, and one joins the parts."""
    tasks = [machine.start(bench, "--cluster", "array", SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_MIN="0", SLURM_ARRAY_TASK_COUNT=str(MACHINES))
             for task, machine in enumerate(machines)]
    for task in tasks:
        complained = task.communicate(timeout=60)[1]
        assert task.returncode in (0, SKIPPED_DOCUMENTS), complained
    bench.check(server / "out")


def test_of_lone_starts_one_wins(bench, machines, server):
    """No lock reaches from one machine to the other: signs of life keep the runs apart."""
    runs = [machine.start(bench) for machine in machines]
    ended = [(run.communicate(timeout=60)[1], run.returncode) for run in runs]
    for complained, code in ended:
        assert code == SKIPPED_DOCUMENTS or (code == 1 and "on host machine" in complained and complained.count("\n") == 1), ended
    bench.finish(machines[1].start(bench))
    bench.check(server / "out")
