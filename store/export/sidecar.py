"""What stands beside an exported map: whose it is, and how far its method can be trusted, as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from store.benchmark import cited_of_packaged
from store.files.atomic import write_bytes
from store.reading.reader import RunReader
from store.reading.trust import TrustLine, trust_lines


def write_sidecar(run: RunReader, image: Path, method: str, model_set: str, known: dict[str, TrustLine]) -> list[Path]:
    """Write NAME.json beside NAME.nii.gz; return it in a list, empty where nothing is known of the method.

    Args:
        known: of `lines_of`.
    """
    words = trust_words(run, method, model_set, known)
    if not words:
        return []
    line = known.get(method)
    content = {
        "Run": run.run_id, "Method": method, "ModelSet": model_set, "Simulated": run.simulated, "Trust": words,
        "TrustSentences": line.sentences() if line else [],
    }  # fmt: skip
    path = image.with_name(f"{image.name.removesuffix('.nii.gz')}.json")
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return [path]


def lines_of(run: RunReader) -> dict[str, TrustLine]:
    """Return method -> line of a run; empty for new scans, whose networks are another run's."""
    return {} if run.reference_run else trust_lines(run, benchmark=cited_of_packaged())


def trust_words(run: RunReader, method: str, model_set: str, known: dict[str, TrustLine]) -> str:
    """Return the trust line of a method; of new scans where it is found; empty where nothing is known."""
    if run.reference_run:
        return f"Trust: that of run {run.reference_run}, whose networks explain these scans"
    return known[method].text(model_set) if method in known else ""
