"""A job of two machines whose network is cut in the middle: two name spaces of networks, joined by a virtual cable.

Skipped, with the reason, where name spaces may not be made. The launcher's own processes may wait for a connection to be given up; ours may not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench import PROGRAM, SKIPPED_DOCUMENTS, Bench, contents, has_mpi, temporary_folder, wait_for

PATIENCE = 3
NETWORK = "10.213.77"

pytestmark = [
    pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it"),
    pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="ip or unshare is not installed"),
]


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no name spaces of networks here: ip {' '.join(words)}: {done.stderr.strip()}")


class Machines:
    """Two name spaces a and b; `names` are theirs."""

    def __init__(self) -> None:
        self.names = [f"cx{os.getpid()}{letter}" for letter in "ab"]

    def connect(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        cable = [f"{name}-0" for name in self.names]
        ip("link", "add", cable[0], "netns", self.names[0], "type", "veth", "peer", "name", cable[1], "netns", self.names[1])
        for number, name in enumerate(self.names):
            ip("-n", name, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", f"{name}-0")
            ip("-n", name, "link", "set", f"{name}-0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def cut(self) -> None:
        ip("-n", self.names[0], "link", "set", f"{self.names[0]}-0", "down")

    def processes(self) -> list[int]:
        lists = [subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout for name in self.names]
        return [int(number) for numbers in lists for number in numbers.split()]

    def remove(self) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(process, signal.SIGKILL)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def machines():
    both = Machines()
    try:
        both.connect()
        yield both
    finally:
        both.remove()


@pytest.fixture
def bench():
    with temporary_folder("network") as name:
        yield Bench(Path(name), documents=120, shard_size=1)


def start(bench: Bench, machines: Machines, out: Path) -> subprocess.Popen[str]:
    """One rank on each machine; the second has a host's name of its own, and is reached by a stand-in for ssh."""
    agent = bench.folder / "agent"
    agent.write_text(f'#!/bin/sh\nshift\nexec ip netns exec {machines.names[1]} unshare -u sh -c "hostname {machines.names[1]}; $*"\n')
    agent.chmod(0o755)
    only = f"{NETWORK}.0/24"
    launcher = ["mpirun", "-n", "2", "--host", f"{NETWORK}.1:1,{NETWORK}.2:1", "--bind-to", "none", "--mca", "plm_rsh_agent", str(agent), "--mca", "btl", "tcp,self",
                "--mca", "btl_tcp_if_include", only, "--mca", "oob_tcp_if_include", only]
    command = ["ip", "netns", "exec", machines.names[0], *launcher, *bench.command(out, "--cluster", "mpi", "--patience", str(PATIENCE))]
    return subprocess.Popen(command, cwd=bench.folder, env=bench.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def ours(machines: Machines) -> list[int]:
    """The program's processes in both name spaces."""
    found = []
    for process in machines.processes():
        with contextlib.suppress(OSError):
            found += [process] if os.readlink(f"/proc/{process}/exe") == os.path.realpath(PROGRAM) else []
    return found


def test_a_cut_network_ends_the_job(bench, machines):
    out = bench.folder / "out"
    job = start(bench, machines, out)
    try:
        wait_for(lambda: len(list(out.glob("parts/*.h5"))) >= 4 or job.poll() is not None, 60)
        assert job.poll() is None and len(ours(machines)) == 2, job.communicate()[0]
        machines.cut()
        begin = time.monotonic()
        wait_for(lambda: not ours(machines), 60)
        seconds = time.monotonic() - begin
    finally:
        job.kill()
    assert seconds < 3 * PATIENCE + 5, f"{seconds:.1f} s"
    print(f"both ranks were gone {seconds:.1f} s after the network was cut, with a patience of {PATIENCE} s")
    # A fast rank 0 may have written every part by then; the run is not over, since it waits for an answer of the other.
    assert not (out / "run.h5").exists(), "the run was over before the network was cut"
    whole = contents(bench.whole)
    assert all(whole[name] == data for name, data in contents(out).items() if name.startswith("parts/") and name.endswith(".h5"))
    bench.finish(bench.start_ranks(out, 2), expected=SKIPPED_DOCUMENTS)
    bench.check(out)
