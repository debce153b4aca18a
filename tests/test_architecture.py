"""dashboard -> store <- engine; nothing else crosses, and what should be light is light."""

from __future__ import annotations

import ast
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("engine", "store", "dashboard")
FORBIDDEN = {"engine": {"dashboard"}, "store": {"engine", "dashboard"}, "dashboard": {"engine"}}
# Layers of the engine, lowest first; a module may import from its own folder and from the layers below.
LAYERS = (
    ("errors", "json_line", "progress"),
    ("config",),
    ("parallel",),
    ("images",),
    ("atlas", "networks", "cohort"),
    ("preprocessing",),
    ("simulation", "training", "evaluation", "relevance", "analysis"),
    ("pipeline",),
    ("cli", "benchmark"),
)


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


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imported_modules(file: Path) -> set[str]:
    """The modules of this project that a file imports, also inside functions and under TYPE_CHECKING."""
    found = set()
    for name in _imports(file):
        if name.split(".")[0] in PACKAGES:
            path = ROOT / name.replace(".", "/")
            if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
                found.add(name)
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


def _layer(module: str) -> int:
    part = module.split(".")[1]
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


def test_layers_of_the_engine():
    for file in (ROOT / "engine").rglob("*.py"):
        module = _module(file)
        if module == "engine":
            continue
        for name in _imported_modules(file):
            if not name.startswith("engine."):
                continue
            same = name.split(".")[1] == module.split(".")[1]
            assert same or _layer(name) < _layer(module), f"{module} imports {name}, which is not in a layer below"


# Parts of a page by name, lowest first; `shared` is what several pages use.
PARTS_OF_A_PAGE = ("queries", "tables", "charts", "page")


def test_pages_do_not_import_each_other():
    for file in (ROOT / "dashboard/views").rglob("*.py"):
        page = file.parent.name
        for name in _imported_modules(file):
            parts = name.split(".")
            if parts[:2] != ["dashboard", "views"] or len(parts) < 3:
                continue
            assert parts[2] in (page, "shared"), f"{_module(file)} imports {name}, which belongs to another page"
            if file.stem in PARTS_OF_A_PAGE and parts[2] == page and parts[-1] in PARTS_OF_A_PAGE:
                places = [PARTS_OF_A_PAGE.index(part) for part in (parts[-1], file.stem)]
                assert places[0] < places[1], f"{_module(file)} imports {name}, which is above it"


# Rooms of the dashboard, lowest first. Tables and charts of a page know no page, so that reports may show them too.
ROOMS = ("text", "drawing", "data", "serving", "links", "shell", "viewer", "views: tables", "reports", "views", "home",
         "app", "__main__")  # fmt: skip
IN_A_PAGE = ("queries", "tables", "charts", "page")


def _room(module: str) -> str:
    """The room of a module of the dashboard."""
    parts = module.split(".")
    below = parts[1] == "views" and (parts[-1] in ("tables", "charts") or "shared" in parts)
    return "views: tables" if below else parts[1]


def test_rooms_of_the_dashboard():
    for file in (ROOT / "dashboard").rglob("*.py"):
        module = _module(file)
        for name in _imported_modules(file) if module != "dashboard" else ():
            if name.startswith("dashboard."):
                same = name.split(".")[1] == module.split(".")[1]
                low, high = ROOMS.index(_room(name)), ROOMS.index(_room(module))
                assert same or low < high, f"{module} imports {name}, which is not in a room below"


def test_parts_of_a_page():
    for file in (ROOT / "dashboard/views").rglob("*.py"):
        own = _module(file).split(".")
        for name in _imported_modules(file):
            parts = name.split(".")
            if parts[:3] == own[:3] and len(parts) == 4 and len(own) == 4 and {parts[3], own[3]} <= {*IN_A_PAGE}:
                assert IN_A_PAGE.index(parts[3]) < IN_A_PAGE.index(own[3]), f"{'.'.join(own)} imports {name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_in_a_circle(package):
    arrows = {_module(file): _imported_modules(file) for file in (ROOT / package).rglob("*.py")}
    try:
        graphlib.TopologicalSorter(arrows).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_nobody_imports_the_underscore_names_of_another_module():
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                    names = [a.name for a in node.names if a.name.startswith("_") and not a.name.startswith("__")]
                    assert not names, f"{file.relative_to(ROOT)} imports {names} of {node.module}"


def _loaded(code: str) -> set[str]:
    probe = f"import sys; {code}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.split())


HEAVY = {"torch", "ants", "deepbet", "captum", "nilearn"}
# Files that Streamlit runs: of these what they import is imported.
SCRIPTS = [*(ROOT / "dashboard/views").glob("*/page.py"), ROOT / "dashboard/app.py", ROOT / "dashboard/home.py"]


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
def test_store_and_dashboard_start_without_what_takes_long_to_load(package):
    modules = _modules(package)
    assert len(modules) > 5
    loaded = _loaded(f"import {', '.join(modules)}")
    assert not loaded & {*HEAVY, "sklearn", "scipy.stats", "matplotlib.pyplot"}  # imported where they are called
    assert "engine" not in loaded


def test_the_command_line_answers_without_loading_the_heavy_packages():
    assert not _loaded("import run_pipeline; run_pipeline.main.parser(run_pipeline.STAGES)") & HEAVY


def test_nothing_is_unpickled():
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert not {"pickle", "joblib", "dill", "shelve"} & {n.split(".")[0] for n in _imports(file)}, file
            assert "torch.load" not in text, file
            assert "allow_pickle=True" not in text, file


def test_the_job_reads_as_a_table_of_contents():
    import run_pipeline
    from engine.pipeline import stages

    assert tuple(run_pipeline.STAGES) == stages.ORDER
    assert len((ROOT / "run_pipeline.py").read_text().splitlines()) < 30
