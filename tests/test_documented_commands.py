"""Commands, settings and example files that the documents show are ones that the programs take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from store_factory import shared_store

from engine.cli import jobs
from engine.cli import main as command
from engine.cli.options import configuration, overrides_of
from engine.cohort.readers import table
from engine.config.loading import load_config
from engine.config.model_card import read_card
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.config.schema import RunConfig
from engine.images.grid import Grid
from engine.networks.cnn3d import POOLS
from engine.relevance.occlusion import position_shape
from engine.training.imported import skeleton
from run_pipeline import STAGES

ROOT = Path(__file__).parent.parent
DOCUMENTS = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
             for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}  # fmt: skip
SECTIONS = "|".join(RunConfig.model_fields)
PLACEHOLDERS = re.compile(r"^(?:\.\.\.|…|\$\w+|\[.*|.*\])$")


def examples(document: str, language: str) -> list[str]:
    """Return the code blocks of a language in a document."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENTS[document], re.DOTALL)


def commands(document: str) -> list[list[str]]:
    """Return every Python command of a document, in code blocks and in sentences, as words."""
    text = DOCUMENTS[document]
    blocks = "\n".join(examples(document, "bash")).replace("\\\n", " ").splitlines()
    sentences = re.findall(r"`(python [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in [*blocks, *(" ".join(sentence.split()) for sentence in sentences)]:
        start = re.search(r"python3? (?:run_pipeline|-m |tests/)", line)
        if start:
            found.append(shlex.split(line[start.start() :], comments=True))
    return found


ALL = [(document, words) for document in DOCUMENTS for words in commands(document)]


def exists(key: str) -> bool:
    """Return whether the configuration has a key, such as training.epochs."""
    section = RunConfig
    for part in key.split("."):
        if part not in getattr(section, "model_fields", {}):
            return False
        section = section.model_fields[part].annotation
    return True


@pytest.mark.parametrize(
    ("document", "words"), ALL, ids=[f"{document}: {' '.join(words)[:60]}" for document, words in ALL]
)
def test_commands_are_understood(document, words):
    if words[1] == "run_pipeline.py":
        return understood(words[2:])
    file = ROOT / (words[1] if words[1] != "-m" else words[2].replace(".", "/"))
    if words[1] == "-m" and not (ROOT / words[2].split(".")[0]).exists():
        return None  # of another package
    file = next(one for one in (file, file.with_suffix(".py"), file / "__main__.py") if one.is_file())
    source = file.read_text(encoding="utf-8")
    for option in (word for word in words if word.startswith("--") and word != "--help"):
        assert f'"{option}"' in source, f"{document}: {file.name} has no {option}"
    return None


def understood(words: list[str]) -> None:
    """Raise unless run_pipeline.py takes these words, and the configuration their settings."""
    if "--help" in words:
        return
    known = [word for word in words if not PLACEHOLDERS.match(word) or "=" in word]
    job = jobs.JOBS.get(known[0]) if known else None
    parser = job.parser() if job else command.parser(STAGES)
    options = parser.parse_args(known[1:] if job else known)
    keys = overrides_of(options) if "overrides" in options else {}
    assert all(exists(key) for key in keys), keys
    if job is None and options.config is None:
        configuration(options)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_that_the_documents_name_exist(document):
    for key in re.findall(rf"`(?:--set '?)?((?:{SECTIONS})(?:\.[a-z_]+)+)[`=]", DOCUMENTS[document]):
        if key.startswith("store.") and key != "store.scans":
            continue  # a file of the package
        assert exists(key), f"{document} names {key}"


@pytest.mark.parametrize("document", ["README.md", "docs/your-data.md"])
def test_the_example_configuration_reads_a_folder_of_scans(document, tmp_path):
    (example,) = examples(document, "yaml")
    (tmp_path / "my.yaml").write_text(example)
    (tmp_path / "t1").mkdir()
    rows = [("001", "Dementia"), ("002", "CN"), ("003", "MCI")]
    for name, _ in rows:
        (tmp_path / "t1" / f"{name}_T1.nii.gz").write_bytes(name.encode())
    lines = ["id,dx,age,sex", *(f"{name},{label},74,F" for name, label in rows)]
    (tmp_path / "participants.csv").write_text("\n".join(lines))
    config = load_config(tmp_path / "my.yaml", overrides={"cohort.data": str(tmp_path)})
    assert config.cohort.diagnosis == {"AD": ["AD", "Dementia"], "NC": ["CN", "NL"]}
    assert config.cohort.apply == ["MCI"]
    cohort = table.read(config.cohort)
    assert cohort.name == "memory clinic"
    assert cohort.scans[["subject", "diagnosis"]].to_numpy().tolist() == [["001", "AD"], ["002", "NC"], ["003", "MCI"]]


def test_the_example_card_is_a_network(tmp_path):
    (example,) = examples("docs/new-scans.md", "yaml")
    (tmp_path / "own.yaml").write_text(example)
    network = skeleton(read_card(tmp_path / "own.yaml"))
    assert len(network.features) == 6


def test_the_examples_of_reading_a_store_run(monkeypatch, tmp_path):
    """The examples name results/ and a run in it; both lead to a small store here."""
    (run,) = (file.parent for file in shared_store().glob("*/manifest.json"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "demo-12345678").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    zarr_example, sql_example, store_example = examples("docs/store.md", "python")
    found: dict = {}
    exec(zarr_example, found)
    assert found["template"].ndim == 3
    assert found["cell"].shape[0] == 3
    assert found["cell"].ndim == 4
    exec(sql_example, {})
    monkeypatch.chdir(run.parent)
    exec(store_example.replace('"results"', '"."'), found)
    assert found["heatmap"].shape == found["average"].shape == found["run"].mask.shape


@pytest.mark.parametrize("mm", POOLS)
def test_the_grids_of_the_definitions_are_those_of_the_code(mm):
    grid, occlusion = Grid(mm), RunConfig().explain.occlusion
    half, stride = grid.voxels(occlusion.half_width_mm), grid.voxels(occlusion.stride_mm)
    shape, positions = ("x".join(map(str, one)) for one in (grid.shape, position_shape(grid.shape, stride)))
    pools = ", ".join(map(str, POOLS[mm]))
    row = f"| {mm} mm | {shape} | {pools} | {half}, {stride} | {positions} |"
    assert row in DOCUMENTS["docs/definitions.md"]


def test_the_quality_limits_of_the_definitions_are_the_defaults():
    for registration in ("syn_quick", "affine"):
        quality = PreprocessingConfig(registration=registration).quality
        for figure in type(quality.flag).model_fields:
            (row,) = re.findall(rf"^\| `{figure}` \|(.*)$", DOCUMENTS["docs/definitions.md"], re.MULTILINE)
            cells = row.replace("\\|", "").split("|")
            for limits, cell in ((quality.flag, cells[1]), (quality.exclude, cells[2])):
                for bound in filter(None, getattr(limits, figure)):
                    assert f"{bound:g}" in re.findall(r"[\d.]*\d", cell.replace("1.0 ", "1 ")), (figure, bound)
