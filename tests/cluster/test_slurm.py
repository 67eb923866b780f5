"""The job scripts on a real Slurm: two nodes on this machine, started for the test, with an authentication of their own.

Skipped, with the reason, where Slurm is not installed or cannot be started.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import PROGRAM, SKIPPED_DOCUMENTS, Bench, has_mpi

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel")
MISSING = [name for name in NEEDED if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]
pytestmark = [
    pytest.mark.skipif(not PROGRAM, reason="the program is not built"),
    pytest.mark.skipif(bool(MISSING), reason=f"Slurm is not installed: {', '.join(MISSING)} not found"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting a Slurm needs root"),
]

ENDS = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT", "OUT_OF_MEMORY")
CONFIGURATION = """\
ClusterName=contexture-test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
SlurmctldPort={ports[0]}
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool/%n
TmpFS={place}/tmp/%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
MpiDefault=pmix
ReturnToService=2
JobRequeue=1
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
MinJobAge=300
KillWait=5
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 State=UNKNOWN
PartitionName=all Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Slurm:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "SLURM_CONF": str(place / "slurm.conf"),
                            "OPENBLAS_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_btl": "tcp,self"}

    def start(self) -> str:
        """Returns why it did not start, or an empty text."""
        for name in ("state", "spool/n0", "spool/n1", "tmp/n0", "tmp/n1"):
            (self.place / name).mkdir(parents=True)
        (self.place / "munge.key").write_bytes(os.urandom(128))
        (self.place / "munge.key").chmod(0o400)
        configuration = CONFIGURATION.format(place=self.place, host=socket.gethostname().split(".")[0], ports=free_ports(3))
        (self.place / "slurm.conf").write_text(configuration)
        munge = ["munged", "--foreground", "--force", f"--key-file={self.place}/munge.key", f"--socket={self.place}/munge.socket",
                 f"--pid-file={self.place}/munge.pid", f"--log-file={self.place}/munge.log", f"--seed-file={self.place}/munge.seed"]
        for command in (munge, ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", "n0"], ["slurmd", "-D", "-N", "n1"]):
            with open(self.place / f"{len(self.daemons)}-{command[0]}.said", "wb") as said:
                self.daemons.append(subprocess.Popen(command, env=self.environment, cwd=self.place, stdout=said, stderr=said))
            if command is munge:
                time.sleep(0.5)
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if any(daemon.poll() is not None for daemon in self.daemons):
                break
            states = self.ask("sinfo", "-h", "-o", "%D %t")
            if states.split() == ["2", "idle"]:
                return ""
            time.sleep(0.3)
        logs = "; ".join(f"{path.stem}: {path.read_text(errors='replace')[-400:]}" for path in sorted(self.place.glob("*.said")))
        return f"Slurm cannot be started here: {logs or 'it says nothing'}"

    def stop(self) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, cwd=self.place, capture_output=True, text=True, timeout=60, check=False).stdout

    def submit(self, script: Path, folder: Path) -> str:
        done = subprocess.run(["sbatch", "--parsable", str(script)], env=self.environment, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def facts(self, job: str) -> list[dict[str, str]]:
        """One entry a job or array task."""
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in self.ask("scontrol", "-o", "show", "job", job).splitlines() if line]

    def wait(self, job: str, folder: Path, until: Callable[[], bool] = lambda: False, seconds: float = 90) -> list[dict[str, str]]:
        """Until the job has ended, or `until` holds."""
        end = time.monotonic() + seconds
        waits_since = None
        while time.monotonic() < end:
            facts = self.facts(job)
            if facts and all(fact["JobState"] in ENDS for fact in facts):
                return facts
            # A requeued job is held back for two minutes, unless it is asked for. Its first life has ended when its steps have left the nodes' sockets, and a
            # batch script that begins in the same second as it ended is not started.
            waits = any(fact["JobState"] == "PENDING" and fact.get("Reason") == "BeginTime" for fact in facts)
            waits_since = (waits_since or time.monotonic()) if waits else None
            if waits and time.monotonic() > waits_since + 3 and not list(self.place.glob(f"spool/*/*[._]{job}.*")):
                self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
            for _ in range(10):
                if until():
                    return facts
                time.sleep(0.02)
        logs = "".join(path.read_text() for path in folder.glob("contexture-*.log"))
        raise AssertionError(f"the job is not done after {seconds} s: {self.facts(job)}\n{logs}")


@pytest.fixture(scope="module")
def place():
    with tempfile.TemporaryDirectory(prefix="cx-slurm-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def slurm(place):
    (place / "slurm").mkdir()
    cluster = Slurm(place / "slurm")
    try:
        why = cluster.start()
        if why:
            pytest.skip(why)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def bench(place):
    (place / "bench").mkdir()
    return Bench(place / "bench")


def write_script(bench: Bench, out: str, *options: str, **settings: object) -> Path:
    """What slurm-script prints for a configuration, as a file."""
    lines = {"model": "model", "corpus": "[text.jsonl]", "out": out, "shard_size": 3, "threads": 1, "quiet": "true", **settings}
    config = bench.folder / f"{out}.yaml"
    config.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    done = subprocess.run([PROGRAM, "slurm-script", "--config", config.name, *options], cwd=bench.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    script = bench.folder / f"{out}.sh"
    script.write_text(done.stdout)
    return script


def log_of(bench: Bench, job: str) -> str:
    return "".join(path.read_text() for path in sorted(bench.folder.glob(f"contexture-{job}*.log")))


def restarts_in(log: str) -> str:
    """One is wanted. More may have been for MPI, which has been seen to fall at its start."""
    return str(log.count("goes back into the queue"))


@pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it")
def test_ranks_on_two_nodes(bench, slurm):
    script = write_script(bench, "ranks", "--mpi", "--nodes", "2", "--tasks-per-node", "2", "--time", "5")
    job = slurm.submit(script, bench.folder)
    fact = slurm.wait(job, bench.folder)[0]
    assert fact["ExitCode"] == f"{SKIPPED_DOCUMENTS}:0", f"{fact}\n{log_of(bench, job)}"
    assert fact["NumNodes"] == "2" and fact["NumTasks"] == "4", fact
    bench.check(bench.folder / "ranks")


def test_array(bench, slurm):
    job = slurm.submit(write_script(bench, "array", "--array", "3", "--time", "5"), bench.folder)
    facts = slurm.wait(job, bench.folder)
    assert len(facts) == 3 and all(fact["ExitCode"] in ("0:0", f"{SKIPPED_DOCUMENTS}:0") for fact in facts), f"{facts}\n{log_of(bench, job)}"
    bench.check(bench.folder / "array")


@pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it")
def test_a_signalled_job_comes_back_and_finishes(bench, slurm):
    """Told to stop in the middle: exit code 75, the script puts itself back into the queue, and the second time it ends."""
    script = write_script(bench, "signalled", "--mpi", "--nodes", "2", "--tasks-per-node", "1", "--time", "5", shard_size=1)
    job = slurm.submit(script, bench.folder)
    out = bench.folder / "signalled"
    slurm.wait(job, bench.folder, until=lambda: len(list(out.glob("parts/*.h5"))) >= 3)
    slurm.ask("scancel", "--signal=USR1", job)  # as Slurm does before the limit: to the steps, not to the script
    fact = slurm.wait(job, bench.folder)[0]
    log = log_of(bench, job)
    assert fact["ExitCode"] == f"{SKIPPED_DOCUMENTS}:0" and fact["Restarts"] == restarts_in(log), f"{fact}\n{log}"
    assert "stopped by SIGUSR1" in log and "(exit code 75); job" in log, log
    assert len(list(out.glob("parts/*.h5"))) == 72 and not list(out.glob("**/*.tmp"))
    done = subprocess.run([PROGRAM, "verify", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "the run has ended" in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it")
def test_a_killed_rank_brings_the_job_back(bench, slurm):
    """One rank is killed with -9: the job ends, goes back into the queue by its own script, and finishes. After eight lives it would not."""
    script = write_script(bench, "killed", "--mpi", "--nodes", "2", "--tasks-per-node", "1", "--time", "5", shard_size=1)
    out = bench.folder / "killed"
    job = slurm.submit(script, bench.folder)
    slurm.wait(job, bench.folder, until=lambda: len(list(out.glob("parts/*.h5"))) >= 3)
    running = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if f"--out\0{out.name}\0".encode() in read(path)]
    ranks = [path for path in running if f"SLURM_JOB_ID={job}\0".encode() in read(path / "environ") and b"SLURM_PROCID=1\0" in read(path / "environ")]
    assert len(ranks) == 1, running
    os.kill(int(ranks[0].name), signal.SIGKILL)
    fact = slurm.wait(job, bench.folder)[0]
    log = log_of(bench, job)
    assert fact["ExitCode"] == f"{SKIPPED_DOCUMENTS}:0" and fact["Restarts"] == restarts_in(log), f"{fact}\n{log}"
    assert "(exit code 137); job" in log, log
    assert len(list(out.glob("parts/*.h5"))) == 72 and not list(out.glob("**/*.tmp"))
    last_lines = script.read_text()[script.read_text().index('if [ "$code" -eq 75 ]') :]
    for code, restarts, comes_back in ((137, 7, True), (137, 8, False), (139, 7, True), (1, 0, False), (75, 100, True)):
        ended = subprocess.run(["sh", "-c", f"scontrol() {{ :; }}\ncode={code}\n{last_lines}"], env={**os.environ, "SLURM_RESTART_COUNT": str(restarts)},
                               capture_output=True, text=True, check=False)
        assert ended.returncode == code and ("goes back" in ended.stdout) == comes_back, ended


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
