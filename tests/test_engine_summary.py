"""What a finished run says of itself."""

from __future__ import annotations

import shlex

from dashboard.shell.run_picker import store_place
from engine.cli.report import dashboard_command, summary


def opened_by(command: str) -> str:
    """The store that the dashboard opens by this command."""
    arguments = shlex.split(command)
    return store_place(arguments[arguments.index("--") + 1 :] if "--" in arguments else [], {})


def test_the_command_to_look_at_a_run_opens_the_store_that_it_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BRAINWHY_STORE", raising=False)
    assert dashboard_command("results") == "streamlit run dashboard/app.py"
    assert dashboard_command(tmp_path / "results") == "streamlit run dashboard/app.py"
    for store in ("/somewhere/else", str(tmp_path / "my results")):
        assert opened_by(dashboard_command(store)) == store
    monkeypatch.setenv("BRAINWHY_STORE", "/other")
    assert opened_by(dashboard_command("results")) == "results"


def test_the_summary_names_the_store():
    found = {"run": "r-1", "store": "/somewhere/else", "simulated": True, "seconds": {}, "peak_mib": 1, "metrics": {}}
    assert summary(found)[-1] == "look at it: streamlit run dashboard/app.py -- --store /somewhere/else"
