"""Units of work on a cluster: tried again, named when they fail, found again by a driver that is started again."""

from __future__ import annotations

import json
import os
import pickle
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from test_engine_prepare import FakePreparer, cohort

from engine.cli import main as command
from engine.cli.options import configuration
from engine.config.cluster_schema import ClusterConfig, minutes_of
from engine.config.loading import load_config
from engine.errors import UserError
from engine.parallel import LocalEngine, TasksFailedError, Work, local, tell
from engine.parallel.cluster import ClusterEngine, Event
from engine.parallel.engines import engine_for
from engine.parallel.records import Records, private_folder
from engine.parallel.slurm import FileVoice, SlurmBackend
from engine.parallel.unit import Batch
from engine.pipeline.run import Run
from engine.preprocessing.cohort import Preparation, _Job, prepare_cohort
from engine.progress import Progress
from run_pipeline import STAGES


@dataclass
class Here:
    """A cluster that makes the calls when it is asked for news.

    Attributes:
        lost: names of units whose process is killed, and how often yet.
        keeps: tasks that outlive the driver: cluster's name -> batch.
    """

    lost: dict[str, int] = field(default_factory=dict)
    keeps: dict[str, Batch] = field(default_factory=dict)
    final: bool = False
    waiting: list[Batch] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    handed: list[tuple[str, ...]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def voice(self, uid):
        return lambda message: self.told.append(Event(uid, told=message))

    def submit(self, batches, work):
        self.waiting += batches
        self.handed += [batch.names for batch in batches]
        self.keeps |= {f"job-{batch.uid}": batch for batch in batches}
        return {batch.uid: f"job-{batch.uid}" for batch in batches}

    def adopt(self, uid, handle):
        if handle not in self.keeps:
            return False
        self.waiting.append(self.keeps[handle])
        return True

    def events(self):
        batches, self.waiting = self.waiting, []
        for batch in batches:
            event = self.made(batch)
            told, self.told = self.told, []
            yield from told
            yield event

    def made(self, batch):
        for place, name in enumerate(batch.names):
            if self.lost.get(name, 0) > 0:
                self.lost[name] -= 1
                self.voice(batch.uid)({"place": place, "kind": "started", "node": "node7"})
                return Event(batch.uid, tail="Killed", final=self.final)
        return Event(batch.uid, answers=batch())

    def cancel(self, handles):
        self.stopped += handles

    def close(self):
        pass


def _double(number: int) -> int:
    tell(f"had {number}")
    return 2 * number


def _fail_on_three(number: int) -> int:
    if number == 3:
        raise RuntimeError("no luck")
    return 2 * number


def _refuse(number: int) -> int:
    raise UserError("the file is missing")


def _work(function, numbers=(1, 2, 3, 4)) -> Work:
    return Work("count", function, list(numbers), [f"scan {number}" for number in numbers])


@pytest.fixture
def engine(tmp_path):
    return engine_of(Here(), tmp_path)


def engine_of(here: Here, folder: Path, most: int = 10) -> ClusterEngine:
    said: list[str] = []
    engine = ClusterEngine(here, Records(folder), said.append, most)
    engine.said = said
    return engine


def test_all_results_arrive_and_what_is_told_is_heard(engine):
    heard: list[str] = []
    assert sorted(engine.run(_work(_double), heard.append)) == [2, 4, 6, 8]
    assert sorted(heard) == ["had 1", "had 2", "had 3", "had 4"]
    assert engine.records.all() == []
    assert engine.backend.handed == [("scan 1",), ("scan 2",), ("scan 3",), ("scan 4",)]


def test_units_share_a_task_beyond_the_most(tmp_path):
    engine = engine_of(Here(), tmp_path, most=2)
    assert sorted(engine.run(_work(_double, range(5)))) == [0, 2, 4, 6, 8]
    assert engine.backend.handed == [("scan 0", "scan 1", "scan 2"), ("scan 3", "scan 4")]


def test_a_unit_that_fails_is_tried_twice_again_and_then_named_and_the_others_go_on(tmp_path):
    engine, found = engine_of(Here(), tmp_path, most=1), []
    results = engine.run(_work(_fail_on_three))
    found += [next(results) for _ in range(3)]
    with pytest.raises(TasksFailedError, match="count: 1 of 4 failed in every attempt; all others are done") as failed:
        next(results)
    assert found == [2, 4, 8]
    assert engine.backend.handed == [tuple(f"scan {n}" for n in (1, 2, 3, 4)), ("scan 3",), ("scan 3",)]
    text = str(failed.value)
    assert "scan 3 on " in text
    assert "RuntimeError: no luck" in text
    assert "in _fail_on_three" in text  # the tail of the log
    assert failed.value.exit_code == 1
    assert sum("is tried again" in line for line in engine.said) == 2


def test_the_users_mistake_is_not_tried_again(engine):
    with pytest.raises(TasksFailedError, match=r"scan 1 .*the file is missing"):
        list(engine.run(_work(_refuse, [1])))
    assert len(engine.backend.handed) == 1


def test_a_killed_process_costs_only_the_unit_that_ran_an_attempt(tmp_path):
    here = Here(lost={"scan 2": 1})
    engine, heard = engine_of(here, tmp_path, most=1), []
    assert sorted(engine.run(_work(_double), heard.append)) == [2, 4, 6, 8]
    assert here.handed[1:] == [("scan 2",), ("scan 1", "scan 3", "scan 4")]
    assert "count of scan 2 failed on node7 and is tried again: its process ended without an answer" in engine.said[0]
    with pytest.raises(TasksFailedError, match=r"scan 2 on node7: its process ended without an answer\n +Killed"):
        list(engine_of(Here(lost={"scan 2": 3}), tmp_path).run(_work(_double)))
    final = Here(lost={"scan 2": 1}, final=True)
    with pytest.raises(TasksFailedError, match="1 of 4 failed"):
        list(engine_of(final, tmp_path).run(_work(_double)))
    assert len(final.handed) == 4


def test_a_repeated_unit_tells_only_what_is_new(tmp_path):
    here, heard = Here(), []
    engine = engine_of(here, tmp_path)
    make = here.made

    def twice(batch):
        batch()
        here.made = make
        here.told.append(Event(batch.uid, told={"place": 0, "kind": "started", "node": "b"}))
        return make(batch)

    here.made = twice
    assert list(engine.run(_work(_double, [5]), heard.append)) == [10]
    assert heard == ["had 5"]


def test_a_driver_that_is_started_again_takes_over_what_the_first_handed_out(tmp_path):
    first = Here()
    stopped = engine_of(first, tmp_path)
    first.events = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        list(stopped.run(_work(_double)))
    assert "4 tasks stay with the cluster" in stopped.said[0]
    first.keeps.pop(next(iter(first.keeps)))  # of one the cluster knows nothing any more
    second = Here(keeps=first.keeps)
    again = engine_of(second, tmp_path)
    assert sorted(again.run(_work(_double, [1, 2, 3]))) == [2, 4, 6]  # the fourth has been done since
    assert second.handed == [("scan 1",)]
    assert "2 of 3 are with the cluster already" in again.said[0]
    assert again.records.all() == []


def test_forgetting_stops_what_is_at_work(tmp_path):
    engine = engine_of(Here(), tmp_path)
    engine.records.add("train", [("a", "12_0", ["fold-1"]), ("b", "12_1", ["fold-2"])])
    engine.forget()
    assert engine.backend.stopped == ["12_0", "12_1"]
    assert engine.records.all() == []


def test_the_last_line_of_a_driver_that_was_killed_is_passed_over(tmp_path):
    records = Records(tmp_path)
    records.add("train", [("a", "1", ["x"]), ("b", "2", ["y"])])
    with next(tmp_path.glob("*.tasks")).open("a") as stream:
        stream.write('["c", "3", [')
    assert [uid for uid, _, _ in records.of("train")] == ["b", "a"]


def test_only_its_owner_enters_the_private_folder(tmp_path):
    folder = private_folder(tmp_path / "cluster")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(folder) == folder
    folder.chmod(0o750)
    with pytest.raises(UserError, match="nobody else may enter"):
        private_folder(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="folder of yours"):
        private_folder(tmp_path / "link")


def test_scans_are_prepared_by_a_cluster_as_here(tmp_path):
    here, found = Here(lost={"scan s3": 1}), []
    for name, engine in (("here", LocalEngine()), ("there", engine_of(here, private_folder(tmp_path / "c")))):
        settings = (FakePreparer({"s1": "reason", "s2": "error"}), tmp_path / name, "f", Progress(quiet=True))
        (tmp_path / name).mkdir()
        found.append(prepare_cohort(cohort(), Preparation(*settings, engine=engine)))
    assert sum("scan s3" in names for names in here.handed) == 2
    assert found[1].cohort.exclusions["scan"].tolist() == ["s1", "s2"]
    assert found[0].cache.ids == found[1].cache.ids
    assert (found[0].cache.read() == found[1].cache.read()).all()
    pd.testing.assert_frame_equal(found[0].cohort.exclusions, found[1].cohort.exclusions)


def test_a_scan_whose_answer_was_lost_is_not_prepared_again(tmp_path):
    prepare, row = _Job(FakePreparer(), tmp_path), {"scan": "s1", "path": "s1.nii"}
    for key in ("input", "input", "another input"):
        assert prepare((row, key)).reason == ""
    assert (tmp_path / "made.txt").read_text().split() == ["s1", "s1"]


def _seen(_number: int) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_with_several_gpus_each_process_of_this_machine_sees_one(monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: ["3", "7"])
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    work = replace(_work(_seen, range(6)), processes=2, gpu=True)
    assert LocalEngine().places("cuda") == 2
    assert LocalEngine().places("cpu") == 1
    assert set(LocalEngine().run(work)) == {"3", "7"}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == before


# -- settings and options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "engine", "scheduler"),
    [
        ("slurm", "slurm", None),
        ("dask", "dask", None),
        ("tcp://h:8786", "dask", "tcp://h:8786"),
        ("local", "local", None),
    ],
)
def test_the_word_after_cluster(word, engine, scheduler):
    options = command.parser(STAGES).parse_args(["--cluster", word, "--set", "cluster.walltime=12:00:00"])
    cluster = configuration(options).cluster
    assert (cluster.engine, cluster.scheduler, cluster.walltime) == (engine, scheduler, "12:00:00")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster.walltime": "four hours"}, "'four hours' is no walltime: write H:MM:SS"),
        ({"cluster.walltime": "0:00:00"}, "is no walltime"),
        ({"cluster.scheduler": "http://h", "cluster.engine": "dask"}, "'http://h' is no scheduler"),
        ({"cluster.scheduler": "tcp://h:1"}, "a scheduler belongs to engine=dask"),
        ({"cluster.engine": "pbs"}, "cluster.engine: 'pbs' is not allowed; input should be 'local', 'slurm' or 'dask'"),
    ],
)
def test_wrong_settings_are_told_in_one_line(settings, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        load_config(None, None, settings)


def test_a_wrong_engine_is_the_users_mistake(capsys):
    assert command.main(STAGES, ["--plan", "--cluster", "pbs"]) == 2
    assert "--cluster: 'pbs' is none of local, slurm, dask, tcp://host:port" in capsys.readouterr().err


def test_where_a_run_is_computed_is_no_part_of_its_identity():
    plain, elsewhere = (load_config(None, None, one) for one in ({}, {"cluster.engine": "slurm", "cluster.at_once": 3}))
    assert plain.fingerprint() == elsewhere.fingerprint()
    assert "cluster" not in elsewhere.stored()


def test_walltimes_in_minutes():
    assert [minutes_of(text) for text in ("04:00:00", "1-00:30:00", "0:00:01")] == [240, 1470, 1]


@pytest.mark.parametrize(
    ("cluster", "asked", "device"),
    [
        ({"engine": "slurm", "gres": "gpu:1"}, "auto", "cuda"), ({"engine": "slurm"}, "auto", "cpu"),
        ({"engine": "slurm"}, "cuda", "cuda"), ({"engine": "dask", "scheduler": "tcp://h:1"}, "auto", "cpu"),
        ({"engine": "dask"}, "cpu", "cpu"), ({}, "cpu", "cpu"),
    ],
)  # fmt: skip
def test_this_machine_needs_no_gpu_where_others_compute(cluster, asked, device):
    assert command.device_of(ClusterConfig(**cluster), asked) == device


def test_a_driver_without_a_gpu_can_say_what_computed(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert Run(load_config(None, None, {}), tmp_path, "cuda", Progress(quiet=True)).computing_device() == "cuda"


def test_what_is_missing_is_said_with_how_to_install_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="pip install submitit"):
        SlurmBackend(ClusterConfig(engine="slurm"), tmp_path, print)
    monkeypatch.setitem(sys.modules, "distributed", None)
    engine = engine_for(ClusterConfig(engine="dask"), lambda: tmp_path, print, "cpu")
    with pytest.raises(UserError, match="pip install 'distributed'"):
        list(engine.run(_work(_double)))


def test_no_cluster_is_asked_for_nothing(tmp_path):
    engine = engine_for(ClusterConfig(engine="slurm"), lambda: tmp_path / "w", print, "cpu")
    assert list(engine.run(_work(_double, []))) == []
    engine.forget()
    engine.close()
    assert not (tmp_path / "w").exists()
    assert isinstance(engine_for(ClusterConfig(), lambda: tmp_path, print, "cpu"), LocalEngine)


# -- Dask, with a scheduler at an address -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Slowly:
    """Notes each call in a folder, and waits for the file `go` from the third on."""

    folder: Path

    def __call__(self, number: int) -> int:
        tell(f"had {number}")
        (self.folder / f"{number}-{time.monotonic_ns()}").touch()
        while number > 2 and not (self.folder / "go").exists():
            time.sleep(0.02)
        return 2 * number


@pytest.fixture
def scheduler():
    """The address of a scheduler with one worker, which announces a GPU."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        1, threads_per_worker=4, processes=False, protocol="tcp", dashboard_address=None, resources={"GPU": 1}
    ) as cluster:
        yield cluster.scheduler_address


def test_a_scheduler_at_an_address_goes_on_without_the_driver(scheduler, tmp_path):
    folder, notes = private_folder(tmp_path / "cluster"), tmp_path / "notes"
    notes.mkdir()
    config, heard = ClusterConfig(engine="dask", scheduler=scheduler), []
    work = replace(_work(Slowly(notes)), gpu=True)
    engine = engine_for(config, lambda: tmp_path, print, "cpu")
    results = engine.run(work, heard.append)
    assert {next(results), next(results)} == {2, 4}
    results.close()
    engine.close()
    (notes / "go").touch()
    said: list[str] = []
    again = engine_for(config, lambda: tmp_path, said.append, "cpu")
    left = replace(work, items=[3, 4], names=["scan 3", "scan 4"])
    assert sorted(again.run(left)) == [6, 8]
    assert "2 of 2 are with the cluster already" in said[0]
    assert len([note for note in notes.iterdir() if note.name != "go"]) == 4  # each once
    assert {"had 1", "had 2"} <= set(heard)
    assert Records(folder).all() == []
    again.forget()
    assert not folder.exists()
    again.close()


def test_no_scheduler_at_an_address_is_told_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("engine.parallel.dask.CONNECT_S", 1)
    engine = engine_for(ClusterConfig(engine="dask", scheduler="tcp://127.0.0.1:9"), lambda: tmp_path, print, "cpu")
    with pytest.raises(UserError, match=r"--cluster tcp://127.0.0.1:9: no Dask scheduler answers there"):
        list(engine.run(_work(_double)))


# -- SLURM, with programs that only answer ----------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A backend whose squeue prints the file queue; the file silent makes it fail."""
    programs = tmp_path / "bin"
    programs.mkdir()
    answers = {"squeue": f"[ ! -e {tmp_path}/silent ] && cat {tmp_path}/queue", "srun": "", "sbatch": "exit 1"}
    for name, text in answers.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "queue").write_text("7_0\n7_1\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("engine.parallel.slurm.FIRST_POLL_S", 0.01)
    monkeypatch.setattr("engine.parallel.slurm.GONE_S", 0.02)
    said: list[str] = []
    backend = SlurmBackend(ClusterConfig(engine="slurm"), private_folder(tmp_path / "private"), said.append)
    backend._poll_s, backend.said = 0.01, said
    return backend


def test_slurm_is_asked_once_for_all_tasks_and_what_is_in_no_queue_is_lost(slurm, tmp_path):
    assert slurm.adopt("a", "7_0")
    assert slurm.adopt("b", "7_1")
    assert not slurm.adopt("c", "6_0")
    assert list(slurm.events()) == []
    (slurm.folder / "jobs" / "7_1_0_log.out").write_text("one\nslurmstepd: error: oom-kill\n")
    (tmp_path / "queue").write_text("7_0\n")
    slurm.voice("b")({"uid": "b", "place": 0, "name": "scan 1", "kind": "started", "node": "n1"})
    found = list(slurm.events())
    assert [event.told["node"] for event in found] == ["n1"]
    while not found or found[-1].told is not None:
        found = list(slurm.events())
    assert found == [Event("b", tail="one\nslurmstepd: error: oom-kill")]


def test_while_slurm_does_not_answer_no_task_is_lost(slurm, tmp_path):
    slurm.adopt("a", "7_0")
    (tmp_path / "silent").touch()
    for _ in range(4):
        assert list(slurm.events()) == []
    assert slurm.said == ["  squeue does not answer; waiting for SLURM to come back"]


def test_sbatch_that_refuses_is_told_in_one_line(slurm):
    batch = Batch("u", _double, (1,), ("scan 1",), slurm.voice("u"))
    with pytest.raises(UserError, match=r"sbatch refuses the tasks: .*see the section cluster"):
        slurm.submit([batch], _work(_double))


def test_a_task_out_of_time_goes_on_with_the_same_batch(tmp_path):
    batch = Batch("u", _double, (1,), ("scan 1",), FileVoice(tmp_path / "m"))
    (answer,) = pickle.loads(pickle.dumps(batch.checkpoint())).result()
    assert answer.value == 2
    assert [line.split('"kind": ')[1][:9] for line in (tmp_path / "m").read_text().splitlines()] == [
        '"started"', '"told", "', '"ended", ',
    ]  # fmt: skip


def test_the_example_of_the_documentation_is_a_configuration(tmp_path):
    text = (Path(__file__).parent.parent / "docs/cluster.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my.yaml").write_text(example)
    cluster = load_config(tmp_path / "my.yaml", None, {"cluster.engine": "slurm"}).cluster
    assert (cluster.gres, cluster.walltime, cluster.sbatch) == ("gpu:1", "04:00:00", {"qos": "long"})
    parameters = SlurmBackend._parameters(SimpleNamespace(config=cluster), replace(_work(_double), gpu=True, threads=4))
    assert {key: parameters[key] for key in ("time", "gres", "mem", "cpus_per_task", "account")} == {
        "time": 240, "gres": "gpu:1", "mem": "32768MB", "cpus_per_task": 4, "account": "my-lab",
    }  # fmt: skip
    assert "gres" not in SlurmBackend._parameters(SimpleNamespace(config=cluster), _work(_double))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cluster", "slurm", "--set", "cluster.at_once=2"], [
            "by SLURM: ", " tasks, about ", "hours in all; at the soonest about ", "with 2 at once",
            "train: 3 networks in 3 tasks of about", "explain: 11 blocks of at most 64 scans in 11 tasks",
            "shared folder",
        ]),
        (["--cluster", "slurm", "--set", "cluster.tasks=2", "--set", "cluster.walltime=0:01:00",
          "--set", "training.epochs=20000"], [
            "train: 3 networks in 2 tasks", "longer than cluster.walltime (0:01:00): tasks of train",
        ]),
        (["--cluster", "tcp://h:1"], ["by Dask at tcp://h:1: ", "with a worker for each"]),
        (["--cluster", "dask", "--set", "cluster.workers=2"], ["by Dask on this machine: ", "with 2 at once"]),
    ],
)  # fmt: skip
def test_the_plan_says_tasks_hours_and_storage_of_the_engine(words, said, tmp_path, capsys):
    options = ["--preset", "smoke", "--plan", "--json", "--device", "cpu", "--store", str(tmp_path), *words]
    assert command.main(STAGES, [*options, "--set", "trust.networks=0"]) == 0
    shown = capsys.readouterr()
    for text in said:
        assert text in shown.err
    plan = json.loads(shown.out)["cluster"]
    assert plan["tasks"] == sum(share["tasks"] for share in plan["shares"])
    assert plan["hours"] >= 0
    assert list(tmp_path.iterdir()) == []
