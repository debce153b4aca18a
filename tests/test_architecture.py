"""dashboard -> store <- engine; nothing else crosses, and what should be light is light."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "store", "dashboard")
FORBIDDEN = {"engine": {"dashboard"}, "store": {"engine", "dashboard"}, "dashboard": {"engine"}}
# Layers of the engine, lowest first; a module may import from its own layer and those below.
LAYERS = (
    ("errors", "json_line", "yaml_text", "progress", "card", "config", "options"),
    ("data", "preprocessing", "atlas"),
    ("model", "simulation", "relevance", "analysis"),
    ("run",),
    ("explain", "evaluate", "aggregate", "report", "costs", "plan"),
    ("compare", "whole_volume"),
    ("stages",),
    ("new_scans", "imported"),
    ("subcommands",),
    ("command", "bench", "replication", "inner_folds"),
)
# These files sit above their folder: they use the run.
EXCEPTIONS = {
    "engine.simulation.scoring": "compare", "engine.simulation.references": "compare",
    "engine.simulation.imposed": "run", "engine.data.readers": "run",
}  # fmt: skip


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_who_may_import_whom(package):
    for file in (ROOT / package).rglob("*.py"):
        reached = {name.split(".")[0] for name in _imports(file)}
        assert not reached & FORBIDDEN[package], f"{file.relative_to(ROOT)} imports {reached & FORBIDDEN[package]}"


def _layer(module: str) -> int:
    part = EXCEPTIONS.get(module) or module.split(".")[1]
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


def test_layers_of_the_engine():
    for file in (ROOT / "engine").rglob("*.py"):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if file.name == "__init__.py":
            continue
        for name in _imports(file):
            parts = name.split(".")
            if (parts[0] == "engine" and len(parts) > 1 and (ROOT / "engine" / parts[1]).exists()) or (
                parts[0] == "engine" and len(parts) > 1 and (ROOT / "engine" / f"{parts[1]}.py").exists()
            ):
                target = ".".join(parts[:3])
                target = target if target in EXCEPTIONS else ".".join(parts[:2])
                assert _layer(target) <= _layer(module), f"{module} imports {name} from a layer above"


def _loaded(code: str) -> set[str]:
    probe = f"import sys; {code}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.split())


HEAVY = {"torch", "ants", "deepbet", "captum", "nilearn"}
# Files that Streamlit runs: of these what they import is imported.
SCRIPTS = [*(ROOT / "dashboard/views").glob("*.py"), ROOT / "dashboard/app.py", ROOT / "dashboard/home.py"]


def _modules(package: str) -> list[str]:
    """All that is imported when every file of a package is used."""
    files = sorted((ROOT / package).rglob("[!_]*.py"))
    own = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file not in SCRIPTS}
    asked = {name for file in files if file in SCRIPTS for name in _imports(file)}
    return sorted(filter(_is_module, own | asked))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a name in a module
        return False


@pytest.mark.parametrize("package", ["store", "dashboard"])
def test_store_and_dashboard_load_neither_torch_nor_ants(package):
    modules = _modules(package)
    assert len(modules) > 5
    loaded = _loaded(f"import {', '.join(modules)}")
    assert not loaded & HEAVY
    assert "engine" not in loaded


@pytest.mark.parametrize("package", ["store", "dashboard"])
def test_store_and_dashboard_do_without_scipy(package):
    for file in (ROOT / package).rglob("*.py"):
        reached = {name.split(".")[0] for name in _imports(file)}
        assert not reached & {*HEAVY, "scipy", "sklearn"}, file.relative_to(ROOT)


def test_the_command_line_answers_without_loading_the_heavy_packages():
    assert not _loaded("import run_pipeline; run_pipeline.command.parser(run_pipeline.STAGES)") & HEAVY


def test_nothing_is_unpickled():
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not {"pickle", "joblib", "dill", "shelve"} & {n.split(".")[0] for n in _imports(file)}, file
            assert "torch.load" not in text, file
            assert "allow_pickle=True" not in text, file


def test_the_job_reads_as_a_table_of_contents():
    import run_pipeline
    from engine import stages

    assert tuple(run_pipeline.STAGES) == stages.ORDER
    assert len((ROOT / "run_pipeline.py").read_text().splitlines()) < 30
