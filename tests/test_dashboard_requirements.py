"""The light requirements are those of the project; the server stays local and silent."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_light_requirements_are_the_dependencies_of_the_project():
    lines = (ROOT / "dashboard/requirements.txt").read_text().splitlines()
    light = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(light) == sorted(project["dependencies"])


def test_the_server_is_local_and_sends_no_statistics():
    config = tomllib.loads((ROOT / "dashboard/.streamlit/config.toml").read_text())
    assert config["server"]["address"] == "localhost"
    assert config["server"]["maxUploadSize"] == 1
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["showErrorDetails"] == "none"
    assert {"light", "dark"} <= set(config["theme"])
