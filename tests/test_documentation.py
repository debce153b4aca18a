"""What the documents name exists, and what exists is named."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from engine.config.loading import preset_names
from engine.config.schema import NETWORK_NAMES
from engine.relevance import METHODS
from store.spec import TABLES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
             for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}  # fmt: skip
DEFINITIONS = (
    "Margin and evidence", "Share and density", "Gain", "Percentile", "A patient in words",
    "Group cells and averages", "Two sets of scans", "Weights", "Distances", "Variability", "Known truth", "Trust",
    "Accuracy and intervals", "Splits", "Completeness", "Occlusion",
    "Segments", "Preprocessing quality",
)  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize(
    ("document", "name"),
    [
        *(("docs/methods.md", name) for name in (*METHODS, *NETWORK_NAMES)),
        *(("docs/batch-job.md", name) for name in preset_names()),
        *(("docs/store.md", table.name) for table in TABLES),
    ],
)
def test_the_documents_name_every_method_network_preset_and_table(document, name):
    assert f"`{name}`" in DOCUMENTS[document]


def test_the_readme_is_short_and_leads_to_every_document():
    assert len(README.splitlines()) <= 150
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", README))
    assert not set(DOCUMENTS) - linked - {"README.md", "NOTICE.md"}
    assert "](docs/overview.png)" in README
    assert "](patient.png)" in DOCUMENTS["docs/dashboard.md"]


def test_the_set_up_is_two_commands():
    section = README.split("## Set up")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert [len(c.strip().splitlines()) for c in commands] == [1, 1]
    assert "python run_pipeline.py" in commands[0]
    assert "pytest" in commands[1]
    assert commands[1].strip() in (ROOT / "README.md").read_text().split("<!-- tests -->")[1]


def test_every_dependency_has_a_reason():
    listed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["engine"]]
    section = DOCUMENTS["docs/dependencies.md"]
    for requirement in [*listed, *PROJECT["optional-dependencies"]["test"]]:
        name = re.match(r"[A-Za-z0-9_-]+", requirement)[0]
        assert re.search(rf"\b{name}\b", section), name
        assert re.search(r"==|>=.*<", requirement), f"{requirement} is not pinned in a range"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_the_documents_name_exist(document):
    for name in re.findall(r"`((?:engine|store|dashboard|tests|docs)/[\w/.-]+)`", DOCUMENTS[document]):
        assert (ROOT / name).exists(), f"{document} names {name}"


def anchors_of(text: str) -> set[str]:
    """Return the anchors of the headings of a document, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", DOCUMENTS[document], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert target.exists(), f"{document} links to {link}"
        if anchor:
            assert anchor in anchors_of(target.read_text(encoding="utf-8")), f"{document} links to {link}"


def test_every_definition_has_its_heading():
    headings = re.findall(r"^## (.*)$", DOCUMENTS["docs/definitions.md"], re.MULTILINE)
    assert headings == list(DEFINITIONS)


def test_definitions_that_the_code_cites_exist():
    parts = tuple(re.findall(r"^### (.*)$", DOCUMENTS["docs/definitions.md"], re.MULTILINE))
    for file in (path for package in ("engine", "store", "dashboard") for path in (ROOT / package).rglob("*.py")):
        words = " ".join(file.read_text(encoding="utf-8").replace("#", " ").split())
        for cited in re.findall(r"docs/definitions\.md[,:]? [(\"“]?([A-Z][a-z ]+)", words):
            assert cited.startswith(DEFINITIONS + parts), f"{file.relative_to(ROOT)} cites {cited}"


def entries_of_the_tree() -> set[str]:
    """Every path that the tree of docs/architecture.md names, a folder by its indentation."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named, folders = set(), []
    for line in text.split("## The tree")[1].split("\n## ")[0].splitlines():
        entry, indent = line.strip().split("   ")[0], len(line) - len(line.lstrip())
        if not entry or indent > 16:  # the words of the line before go on
            continue
        folders = [(depth, name) for depth, name in folders if depth < indent]
        above = "".join(name for _, name in folders)
        named |= {above + name for name in re.findall(r"[\w]+\.(?:py|md|toml)|[\w]+/", entry)}
        if entry.endswith("/"):
            folders.append((indent, entry))
    return named


def test_the_tree_in_the_architecture_exists():
    named = entries_of_the_tree()
    assert len(named) > 50
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_tree_in_the_architecture_has_every_package():
    packages = {f"{file.parent.relative_to(ROOT)}/" for top in ("engine", "store", "dashboard")
                for file in (ROOT / top).rglob("__init__.py")}  # fmt: skip
    inside = ("engine/cohort/readers/adni/",)  # parts of one entry
    assert not packages - entries_of_the_tree() - set(inside)


def installed_with(names: list[str]) -> dict[str, metadata.Distribution]:
    """Every package that is installed because of these, by its normalised name."""
    found, waiting = {}, list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        needed = [Requirement(text) for text in found[name].requires or []]
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def test_copyleft_packages_are_in_the_notices():
    extras = PROJECT["optional-dependencies"]
    asked = [Requirement(text).name for text in PROJECT["dependencies"] + extras["engine"] + extras["remote"]]
    packages, named = installed_with(asked), set()
    assert {"streamlit", "torch", "s3fs", "deepbet"} <= set(packages)
    for name, package in packages.items():
        fields = [package.metadata.get(key) or "" for key in ("License-Expression", "License")]
        # The text of a whole licence may stand there; it mentions others.
        fields = [field for field in fields if len(field) < 200]
        licences = " ".join([*fields, *(c for c in package.metadata.get_all("Classifier") or [] if "License" in c)])
        if re.search(r"GPL|MPL|Mozilla|EPL|CDDL|EUPL", licences):
            named.add(name)
    listed = set(re.findall(r"^\| ([\w-]+) \| (?:LGPL|GPL|MPL)", (ROOT / "NOTICE.md").read_text(), re.MULTILINE))
    assert named == listed


def test_licence_and_citation():
    assert "BSD 3-Clause" in (ROOT / "LICENSE").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert any("1808.02874" in str(reference) for reference in citation["references"])


def test_the_store_loads_what_its_light_requirements_name():
    assert "torch" not in " ".join(PROJECT["dependencies"])
