"""Several processes at one run: the bytes are those of a single one, whoever does what, and whoever is killed."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench import PROGRAM, RESUMABLE, SKIPPED_DOCUMENTS, Bench, contents, has_mpi, ranks_of, temporary_folder, wait_for

pytestmark = pytest.mark.skipif(not PROGRAM, reason="the program is not built")
needs_mpi = pytest.mark.skipif(not PROGRAM or not has_mpi(), reason="MPI is not installed, or the program was built without it")
SANITIZED = bool(os.environ.get("CONTEXTURE_SANITIZED"))
SLOW = 4 if SANITIZED else 1
once = pytest.mark.skipif(SANITIZED, reason="a sanitizer learns nothing new from it")
SHIM = os.environ.get("FAULT_SHIM", "")
FAULTS = int(os.environ.get("CONTEXTURE_FAULTS", "6"))
KILLS = int(os.environ.get("CONTEXTURE_KILLS", "40"))
ARRAY_KILLS = int(os.environ.get("CONTEXTURE_ARRAY_KILLS", "10"))
RANK_KILLS = int(os.environ.get("CONTEXTURE_RANK_KILLS", "3"))


@pytest.fixture(scope="module")
def bench():
    with temporary_folder("cluster") as name:
        yield Bench(Path(name))


@pytest.fixture(scope="module")
def small_bench(bench):
    (bench.folder / "small").mkdir()
    return Bench(bench.folder / "small", documents=8, shard_size=3, longest=6, layers=1)


@pytest.fixture
def out(bench):
    path = bench.folder / "out"
    yield path
    shutil.rmtree(path, ignore_errors=True)


def begun(out: Path, shards: int = 1):
    return lambda: len(list(out.glob("parts/*.h5"))) >= shards


@needs_mpi
@pytest.mark.parametrize("ranks", [3] if SANITIZED else [1, 2, 3, 4])
def test_ranks_give_the_same_bytes(bench, out, ranks):
    said, _ = bench.finish(bench.start_ranks(out, ranks))
    bench.check(out, f"{ranks} ranks")
    assert said.count(" sequences, ") == 1, f"one rank tells: {said}"


@needs_mpi
@once
def test_ranks_mask_the_dimensions_that_rank_0_chose(bench, out):
    options = ("--limit", "12", "--stages", "none", "--analyses", "norm_dimensions", "--mask-dims", "activation:2")
    alone = bench.folder / "masked"
    bench.finish(bench.start(alone, *options))
    bench.finish(bench.start_ranks(out, 2, *options))
    expected, found = ({name: data for name, data in contents(folder).items() if name.endswith(".h5")} for folder in (alone, out))
    assert len(expected) == 5 and expected == found


@needs_mpi
def test_one_rank_tells_by_its_exit_code(bench, out):
    """Whichever ranks skipped documents: with another's code the launcher may end rank 0 before it has told how the job ends."""
    lines = (bench.folder / "text.jsonl").read_text().splitlines()
    lines[::3] = ['{"text": 7}'] * len(lines[::3])  # one in every shard
    (bench.folder / "holes.jsonl").write_text("\n".join(lines) + "\n")
    command = bench.command(out, "--corpus", "holes.jsonl", "--cluster", "mpi")
    noted = [bench.folder / f"code-{rank}" for rank in range(3)]
    jobs = [["-n", "1", "sh", "-c", '"$@"; echo $? > "$0"', str(note), *command] for note in noted]
    job = bench.start_mpi(*jobs[0], ":", *jobs[1], ":", *jobs[2])
    _, complained = job.communicate(timeout=60 * SLOW)
    assert [note.read_text().strip() for note in noted] == [str(SKIPPED_DOCUMENTS), "0", "0"], complained


def test_processes_in_one_folder_give_the_same_bytes(bench, out):
    for process in [bench.start(out, "--cluster", "folder") for _ in range(3)]:
        said, _ = bench.finish(process)
        assert f"{bench.shards} shards" in said, said
    bench.check(out)


@pytest.mark.parametrize("tasks", [1, 3])
def test_array_tasks_give_the_same_bytes(bench, out, tasks):
    array = [dict(SLURM_ARRAY_TASK_ID=str(10 + 2 * task), SLURM_ARRAY_TASK_MIN="10", SLURM_ARRAY_TASK_STEP="2", SLURM_ARRAY_TASK_COUNT=str(tasks))
             for task in range(tasks)]
    said = []
    for environment in array:  # one after the other: each has its own shards and no others
        process = bench.start(out, "--cluster", "array", **environment)
        said.append(process.communicate()[0])
        assert process.returncode in (0, SKIPPED_DOCUMENTS), said
    assert all(f" of {bench.shards} shards are finished" in text for text in said[:-1]), said
    bench.check(out)


@once
def test_the_ways_may_change_between_interruptions(bench, out):
    """Begun alone, gone on with as an array, then as a folder, then alone again."""
    ways = [(), ("--cluster", "array"), ("--cluster", "folder"), ()]
    for way in ways[:3]:
        before = len(list(out.glob("parts/*.h5")))
        process = bench.start(out, *way, SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_TASK_COUNT="1")
        wait_for(lambda: len(list(out.glob("parts/*.h5"))) > before + 2 or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode in (RESUMABLE, SKIPPED_DOCUMENTS), process.returncode
    bench.finish(bench.start(out))
    bench.check(out)


@once
def test_compressed_corpus(bench, out):
    text = (bench.folder / "text.jsonl").read_bytes()
    lines = text.splitlines(keepends=True)
    (bench.folder / "text.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:30])) + gzip.compress(b"".join(lines[30:])))
    command = ["--corpus", "text.jsonl.gz"]
    for process in [bench.start(out, *command, "--cluster", "folder") for _ in range(2)]:
        bench.finish(process)
    parts = {name: data for name, data in contents(out).items() if name.startswith("parts/")}
    assert len(parts) == bench.shards


@once
def test_standard_input_is_refused(bench, out):
    _, complained = bench.finish(bench.start(out, "--corpus", "-", "--cluster", "folder"), expected=2)
    assert "one process only" in complained


@once
def test_another_corpus_is_refused(bench, out):
    bench.finish(bench.start(out, "--cluster", "folder"))
    (bench.folder / "other.jsonl").write_text('{"text": "the cat"}\n')
    _, complained = bench.finish(bench.start(out, "--cluster", "folder", "--corpus", "other.jsonl"), expected=1)
    assert "the folder holds another run: corpus was" in complained
    bench.check(out)


@once
def test_of_twenty_starts_one_wins(bench, out):
    processes = [bench.start(out) for _ in range(20)]
    codes, complaints = [], []
    for process in processes:
        complaints.append(process.communicate(timeout=120)[1])
        codes.append(process.returncode)
    winners = codes.count(SKIPPED_DOCUMENTS)
    # One that starts when another is done finds the work done; while one works, all others are refused, and say by whom.
    assert winners >= 1 and codes.count(1) == 20 - winners, codes
    pids = {str(process.pid) for process in processes}
    for code, complaint in zip(codes, complaints):
        if code == 1:
            holder = complaint.split("process ")[1].split()[0] if "process " in complaint else ""
            assert holder in pids and complaint.count("\n") == 1, complaint
    bench.check(out)


@once
def test_twenty_starts_in_one_folder_cooperate(bench, out):
    for process in [bench.start(out, "--cluster", "folder") for _ in range(20)]:
        bench.finish(process, seconds=120)
    bench.check(out)


def test_a_lone_run_and_a_shared_one_refuse_each_other(bench, out):
    shared = bench.start(out, "--cluster", "folder")
    wait_for(begun(out))
    shared.send_signal(signal.SIGSTOP)
    assert shared.poll() is None
    _, complained = bench.finish(bench.start(out), expected=1)
    assert f"process {shared.pid} on host" in complained and "--cluster folder" in complained, complained
    shared.kill()
    shared.communicate()
    alone = bench.start(out)  # the dead one's traces do not keep it out
    wait_for(lambda: list(out.glob(f"workers/*-{alone.pid}-*")) or alone.poll() is not None)
    alone.send_signal(signal.SIGSTOP)
    if alone.poll() is None and list(out.glob(f"workers/*-{alone.pid}-*")):
        _, complained = bench.finish(bench.start(out, "--cluster", "folder"), expected=1)
        assert f"process {alone.pid} on host" in complained, complained
    alone.send_signal(signal.SIGCONT)
    bench.finish(alone)
    bench.check(out)


def test_a_stopped_worker_loses_its_claims(bench, out):
    stopped = bench.start(out, "--cluster", "folder", "--patience", "1")
    wait_for(begun(out, 2))
    stopped.send_signal(signal.SIGSTOP)
    bench.finish(bench.start(out, "--cluster", "folder", "--patience", "1"))
    bench.check(out, "while a worker was stopped")
    stopped.send_signal(signal.SIGCONT)  # it comes back and finds all done, or its file gone, which is no failure then
    bench.finish(stopped)
    done = subprocess.run([PROGRAM, "verify", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    bench.finish(bench.start(out))
    bench.check(out, "after the worker came back")


@pytest.mark.parametrize("number", [signal.SIGUSR1] if SANITIZED else [signal.SIGUSR1, signal.SIGTERM])
def test_signals_of_a_worker(bench, out, number):
    process = bench.start(out, "--cluster", "folder")
    wait_for(begun(out))
    process.send_signal(number)
    _, complained = process.communicate(timeout=60)
    if process.returncode != SKIPPED_DOCUMENTS:
        assert process.returncode == RESUMABLE and number.name in complained, complained
        assert not list(out.glob("**/*.tmp")) and not list(out.glob("workers/*")), sorted(out.rglob("*"))
    bench.finish(bench.start(out, "--cluster", "folder"))
    bench.check(out)


@needs_mpi
@pytest.mark.parametrize("victim", [1] if SANITIZED else [0, 1])
def test_a_signal_to_one_rank_ends_the_job(bench, out, victim):
    job = bench.start_ranks(out, 3)
    wait_for(begun(out))
    ranks = ranks_of(job)
    if len(ranks) == 3:
        os.kill(ranks[victim], signal.SIGUSR1)
    _, complained = job.communicate(timeout=60)
    assert job.returncode in (RESUMABLE, SKIPPED_DOCUMENTS), complained
    if job.returncode == RESUMABLE:
        assert "SIGUSR1" in complained and complained.count("contexture: ") == 1, complained
        assert not list(out.glob("**/*.tmp"))
    bench.finish(bench.start_ranks(out, 2))
    bench.check(out)


@needs_mpi
@pytest.mark.parametrize("number", [signal.SIGSTOP] if SANITIZED else [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [2] if SANITIZED else [0, 2])
def test_a_lost_rank_ends_the_job(bench, out, number, victim):
    patience = 2 * SLOW
    job = bench.start_ranks(out, 3, "--patience", str(patience))
    wait_for(begun(out))
    ranks = ranks_of(job)
    assert len(ranks) == 3 or job.poll() is not None, ranks
    begin = time.monotonic()
    os.kill(ranks[victim], number)
    others = [rank for place, rank in enumerate(ranks) if place != victim]
    wait_for(lambda: all(not Path(f"/proc/{rank}/exe").exists() for rank in others), 60)
    seconds = time.monotonic() - begin
    _, complained = job.communicate(timeout=60)
    assert seconds < 3 * patience + 5, f"{seconds:.1f} s"
    if number == signal.SIGSTOP:
        assert job.returncode == RESUMABLE, f"{job.returncode}: {complained}"
        assert "no sign of life" in complained, complained
    print(f"{number.name} of rank {victim}: the others were gone after {seconds:.1f} s with a patience of {patience} s")
    bench.finish(bench.start_ranks(out, 3))
    bench.check(out, f"after {number.name} of rank {victim}")


@pytest.mark.skipif(not SHIM, reason="the shim is not built with sanitizers")
@pytest.mark.parametrize("kind", ["EIO", "kill", "torn", "sticky:ENOSPC"])
def test_any_call_may_fail(small_bench, kind):
    """Plan, claims, signs of life, journals, joining: the run with one failing call says so or gets over it, and the next one ends with the right bytes."""
    bench, steps = small_bench, FAULTS
    base = bench.folder / kind.replace(":", "-")
    base.mkdir()
    count = base / "count"
    shim = {"LD_PRELOAD": SHIM, "FAULT_FOLDER": str(base)}
    bench.finish(bench.start(base / "out", "--cluster", "folder", FAULT_COUNT_FILE=str(count), **shim))
    calls = int(count.read_text())
    failed = 0
    for place in range(steps):
        at = 1 + place * calls // steps + bench.random.randrange(max(1, calls // steps))
        shutil.rmtree(base)
        base.mkdir()
        process = bench.start(base / "out", "--cluster", "folder", "--patience", "1", FAULT_AT=str(at), FAULT_KIND=kind, **shim)
        try:
            _, complained = process.communicate(timeout=30 * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{kind} at call {at} of {calls}: the run hangs") from None
        what = f"{kind} at call {at} of {calls}: {complained}"
        if process.returncode == 1:
            assert str(base) in complained and complained.count("\n") == 1, what
        else:
            assert process.returncode in (SKIPPED_DOCUMENTS, -signal.SIGKILL), f"{process.returncode}, {what}"
        failed += process.returncode != SKIPPED_DOCUMENTS
        whole = contents(bench.whole)
        published = {name: data for name, data in (contents(base / "out") if (base / "out").exists() else {}).items() if name.endswith(".h5")}
        assert all(whole[name] == data for name, data in published.items()), f"something wrong was published: {what}"
        bench.finish(bench.start(base / "out", "--cluster", "folder", "--patience", "1"))
        bench.check(base / "out", what)
    shutil.rmtree(base)
    print(f"{kind}: {failed} of {steps} runs, of {calls} calls each, failed; the next ones ended well")
    assert failed > steps // 3


@once
def test_killed_at_random_moments(bench):
    """Two or three workers at a time, one of them killed every now and then, until enough were; every folder that gets whole is compared."""
    kills = turn = 0
    folders = 0
    while kills < KILLS // SLOW:
        out = bench.folder / f"killed-{turn}"
        turn += 1
        workers: list[subprocess.Popen[str]] = []
        whole = False
        pace = bench.random.choice([0.05, 0.1, 0.4])  # from hardly begun to nearly done
        while not whole:
            while len(workers) < 3:
                workers.append(bench.start(out, "--cluster", "folder"))
            time.sleep(bench.random.uniform(0, pace))
            victim = workers.pop(bench.random.randrange(len(workers)))
            if victim.poll() is None and kills < KILLS // SLOW:
                victim.kill()
                victim.communicate()
                kills += victim.returncode == -signal.SIGKILL
            else:
                bench.finish(victim)
                whole = True
        for worker in workers:
            bench.finish(worker)
        bench.check(out, f"folder {turn}, {kills} kills so far")
        shutil.rmtree(out)
        folders += 1
    print(f"{kills} processes killed, {folders} folders came out whole and equal")


@once
def test_array_tasks_killed_at_random_moments(bench, out):
    """Every task may be killed at any moment, and is started again, as a job is requeued, until the last one has joined the parts."""
    tasks, kills = 3, 0

    def start(task: int) -> subprocess.Popen[str]:
        return bench.start(out, "--cluster", "array", SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_MIN="0", SLURM_ARRAY_TASK_COUNT=str(tasks))

    while kills < ARRAY_KILLS:
        shutil.rmtree(out, ignore_errors=True)
        running = {task: start(task) for task in range(tasks)}
        while running:
            time.sleep(bench.random.uniform(0, 0.15))
            task = bench.random.choice(sorted(running))
            process = running[task]
            if process.poll() is None and kills < ARRAY_KILLS:
                process.kill()
                process.communicate()
                kills += process.returncode == -signal.SIGKILL
                running[task] = start(task)
            elif process.poll() is not None:
                _, complained = process.communicate()
                assert process.returncode in (0, SKIPPED_DOCUMENTS), complained
                del running[task]
        bench.finish(bench.start(out))  # the joiner may have been killed last
        bench.check(out, f"{kills} array tasks killed so far")


def wait_for_end(job, ranks, stopped, out):
    """What the job said, when all its ranks are gone, and True; False: when its launcher would not end, though they were, or but for a rank that was stopped.

    A rank that is stopped when the run is complete and the others have taken leave is missed by none of them, and the launcher waits. It goes on where it was
    stopped.
    """
    try:
        return job.communicate(timeout=30)[1], True
    except subprocess.TimeoutExpired:
        left = [rank for rank in ranks if Path(f"/proc/{rank}/exe").exists()]
        assert left in ([], [stopped]), f"left of the ranks {ranks}: {left}, stopped: {stopped}"
    if left:
        assert b'"complete":true' in (out / "manifest.json").read_bytes(), "nobody missed the stopped rank"
        os.kill(stopped, signal.SIGCONT)
        return job.communicate(timeout=30)[1], False
    job.kill()
    return job.communicate()[1], False


@needs_mpi
@once
def test_ranks_killed_at_random_moments(bench, out):
    """A random one of three ranks is killed or stopped at a random moment, from the start of MPI to the joining; all others go; at last a job ends well."""
    patience, lost, waited = 2, 0, 0
    for turn in range(RANK_KILLS):
        job = bench.start_ranks(out, 3, "--patience", str(patience))
        wait_for(lambda: len(ranks_of(job)) == 3 or job.poll() is not None)
        time.sleep(bench.random.uniform(0, 1.2))
        ranks, victim, number = ranks_of(job), None, bench.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        if len(ranks) == 3:
            victim = bench.random.choice(ranks)
            os.kill(victim, number)
        complained, ended = wait_for_end(job, ranks, victim if number == signal.SIGSTOP else None, out)
        waited += not ended
        assert not any(Path(f"/proc/{rank}/exe").exists() for rank in ranks), complained
        lost += job.returncode != SKIPPED_DOCUMENTS
        whole = contents(bench.whole)
        found = contents(out) if out.exists() else {}
        assert all(whole[name] == data for name, data in found.items() if name.startswith("parts/") and name.endswith(".h5")), f"turn {turn}"
        if job.returncode == SKIPPED_DOCUMENTS:
            bench.check(out, f"turn {turn}")
            shutil.rmtree(out)
    bench.finish(bench.start_ranks(out, 3))
    bench.check(out, f"{lost} jobs lost a rank")
    print(f"{lost} of {RANK_KILLS} jobs lost a rank, and all their processes ended; {waited} launchers waited longer")
