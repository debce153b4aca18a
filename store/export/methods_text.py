"""A methods paragraph for a paper, made from the settings that a run has stored, with versions and citations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.group_tables import COHORT
from store.keys import are_retrained, explains
from store.reading.reader import RunReader

RIEKE = "Rieke, Eitel, Weygandt, Haynes & Ritter 2018, arXiv 1808.02874"
NETWORKS = {
    "rieke2018": ("the 3D convolutional network of Rieke et al. (2018)", RIEKE),
    "korolev2017_plain": ("the plain 3D convolutional network of Korolev et al. (2017)",
                          "Korolev, Safiullin, Belyaev & Dodonova 2017, arXiv 1701.06643"),
    "korolev2017_residual": ("the residual 3D convolutional network of Korolev et al. (2017)",
                             "Korolev, Safiullin, Belyaev & Dodonova 2017, arXiv 1701.06643"),
}  # fmt: skip
REGISTRATIONS = {
    "syn_quick": "a deformable registration (SyN, few iterations)", "affine": "an affine registration",
}  # fmt: skip
METHODS = {
    "sensitivity": ("sensitivity (gradients)", "Simonyan, Vedaldi & Zisserman 2014, arXiv 1312.6034"),
    "guided_backprop": ("guided backpropagation", "Springenberg et al. 2015, arXiv 1412.6806"),
    "occlusion": ("occlusion by a cube", "Zeiler & Fergus 2014, arXiv 1311.2901"),
    "area_occlusion": ("occlusion of whole areas of the atlas", RIEKE),
    "segment_occlusion": ("hierarchical occlusion of segments", "Yang, Rangarajan & Ranka 2018, arXiv 1803.02544"),
    "input_x_gradient": ("input x gradient", "Shrikumar et al. 2016, arXiv 1605.01713"),
    "integrated_gradients": ("integrated gradients", "Sundararajan, Taly & Yan 2017, arXiv 1703.01365"),
    "smoothgrad": ("SmoothGrad", "Smilkov et al. 2017, arXiv 1706.03825"),
    "deeplift": ("DeepLIFT", "Shrikumar, Greenside & Kundaje 2017, arXiv 1704.02685"),
    "lrp": ("layer-wise relevance propagation", "Bach et al. 2015, doi 10.1371/journal.pone.0130140"),
    "grad_cam": ("Grad-CAM", "Selvaraju et al. 2017, arXiv 1610.02391"),
    "guided_grad_cam": ("guided Grad-CAM", "Selvaraju et al. 2017, arXiv 1610.02391"),
}  # fmt: skip
PACKAGES = {"torch": "PyTorch", "antspyx": "ANTsPy", "deepbet": "deepbet", "numpy": "NumPy", "scipy": "SciPy"}
SIMULATED = "SIMULATED DATA: these scans are made up; nothing below is about people."


def methods_text(run: RunReader) -> str:
    """Write what was done in this run as Markdown: a paragraph a step, then the works to cite.

    Settings that an older run did not store are left out; nothing is guessed.
    """
    config = run.manifest.get("config", {})
    cited: dict[str, None] = {RIEKE: None}
    steps = {
        "Participants": _participants(run),
        "Preprocessing": _preprocessing(run, config, cited),
        "Networks": _networks(run, config, cited),
        "Heatmaps": _heatmaps(run, config, cited),
        "Software": _software(run),
    }
    parts = [f"# Methods of run {run.run_id}"]
    if run.simulated:
        parts.append(f"**{SIMULATED}**")
    parts += [f"**{name}.** {text}" for name, text in steps.items() if text]
    notices = run.manifest.get("notices", [])
    cited |= dict.fromkeys(notice for notice in notices if notice.startswith(("Template:", "Atlas:")))
    parts.append("## To cite\n\n" + "\n".join(f"- {work}" for work in cited))
    parts.append("Made from the settings stored with the run; read it against your study before you use it.")
    return "\n\n".join(parts) + "\n"


def _participants(run: RunReader) -> str:
    if run.holds_groups_only:
        return _counted_participants(run)
    scans = run.table("scans", ["scan", "subject", "diagnosis", "age", "sex", "holdout"])
    counts = scans.groupby("diagnosis", sort=False)["subject"].nunique()
    people = ", ".join(f"{count} {diagnosis}" for diagnosis, count in counts.items())
    text = (
        f"{scans['subject'].nunique()} subjects ({people}) with {len(scans)} scans of the cohort "
        f"{run.manifest.get('cohort', 'that was given')}."
    )
    age, sex = scans["age"].dropna(), scans["sex"].dropna()
    if len(age):
        text += f" Age: {age.mean():.1f} years (SD {age.std():.1f}, {age.min():.0f} to {age.max():.0f})."
    if (sex == "F").any():
        text += f" {100 * (scans.loc[sex.index, 'sex'] == 'F').mean():.0f} % of the scans are of women."
    excluded = len(run.table("exclusions"))
    if excluded:
        text += f" {excluded} more {'scan was' if excluded == 1 else 'scans were'} left out, with reasons."
    if scans["holdout"].any():
        tested = scans[scans["holdout"]]
        text += f" {tested['subject'].nunique()} subjects were kept as a fixed test set."
    return text


def _counted_participants(run: RunReader) -> str:
    """Say who took part in a run of groups alone, from its counts."""
    rows = list(run.table("group_counts", model_set=COHORT).itertuples())
    people = ", ".join(f"{row.subjects} {row.diagnosis} with {row.scans} scans" for row in rows)
    ages = ", ".join(f"{row.diagnosis} {row.age_mean:.1f} (SD {row.age_sd:.1f})" for row in rows if row.age_mean > 0)
    text = f"Subjects of the cohort {run.manifest.get('cohort', 'that was given')}: {people}."
    return f"{text} Mean age in years: {ages}." if ages else text


def _preprocessing(run: RunReader, config: Mapping[str, Any], cited: dict[str, None]) -> str:
    chosen, grid = config.get("preprocessing", {}), run.manifest.get("grid_mm")
    if run.simulated:
        return f"Scans were simulated on the ICBM 2009c template, on a grid of {grid} mm."
    parts = []
    if chosen.get("n4"):
        parts.append("corrected for intensity inhomogeneity (N4)")
        cited["Tustison et al. 2010, N4ITK, doi 10.1109/TMI.2010.2046908"] = None
    if chosen.get("brain_extraction") not in (None, "none"):
        parts.append(f"brain-extracted ({chosen['brain_extraction']})")
    if chosen.get("registration") in REGISTRATIONS:
        parts.append(f"brought to the ICBM 2009c template by {REGISTRATIONS[chosen['registration']]}")
        cited["Avants et al. 2011, ANTs, doi 10.1016/j.neuroimage.2010.09.025"] = None
    said = f"Scans were {', '.join(parts)} and " if parts else "Scans were "
    return f"{said}resampled to {grid} mm."


def _networks(run: RunReader, config: Mapping[str, Any], cited: dict[str, None]) -> str:
    chosen, split = config.get("training", {}), config.get("split", {})
    if config.get("imported"):
        return "The network was trained elsewhere and imported; see its own publication."
    name, source = NETWORKS.get(chosen.get("network", ""), ("a 3D convolutional network", ""))
    if source:
        cited[source] = None
    what = "predict " + run.target["label"] if run.target else f"tell {run.groups[0]} from {run.groups[1]}"
    text = f"We trained {name} to {what}"
    numbers = [
        f"{chosen[key]:g} {words}" if key == "epochs" else f"{words} {chosen[key]:g}"
        for key, words in (("epochs", "epochs"), ("batch_size", "batch size"), ("learning_rate", "learning rate"),
                           ("dropout", "dropout"), ("weight_decay", "weight decay"))
        if chosen.get(key)
    ]  # fmt: skip
    text += f" (Adam; {', '.join(numbers)})." if numbers else "."
    models = run.table("models", ["model", "model_set"])
    folds = int((models["model_set"] == "folds").sum())
    if folds:
        kind = "stratified cross-validation" if split.get("rule") == "stratified" else "cross-validation"
        text += f" {folds}-fold {kind} by subject: no subject is in training and test of the same network."
    if (models["model"] == "holdout").any():
        text += " One network was trained without the fixed test set."
    again = int(are_retrained(models["model"]).sum())
    if again:
        text += f" It was trained again {again} times from other seeds to measure how stable its heatmaps are."
    return text


def _heatmaps(run: RunReader, config: Mapping[str, Any], cited: dict[str, None]) -> str:
    stored = run.table("cells", ["method"])["method"].drop_duplicates()
    known = [method for method in stored if explains(method)]
    if not known:
        return ""
    for method in known:
        if method in METHODS:
            cited[METHODS[method][1]] = None
    named = ", ".join(METHODS.get(method, (method,))[0] for method in known)
    text = f"Decisions were explained by {named}, as evidence for a group: the margin of the network's output."
    cube = config.get("explain", {}).get("occlusion", {})
    if "occlusion" in known and {"half_width_mm", "stride_mm"} <= set(cube):
        edge, step = 2 * cube["half_width_mm"], cube["stride_mm"]
        text += f" The cube of the occlusion had an edge of {edge:g} mm, moved by {step:g} mm."
    weights = config.get("analysis", {}).get("weights")
    if weights in ("subject", "scan"):
        text += f" In group averages every {weights} weighs the same."
    return text


def _software(run: RunReader) -> str:
    versions = run.manifest.get("versions", {})
    named = [f"{words} {versions[name]}" for name, words in PACKAGES.items() if versions.get(name)]
    text = f"Brainwhy {versions.get('brainwhy', '(version not stored)')}"
    text += f" with {', '.join(named)}" if named else ""
    seed = run.manifest.get("seeds", {}).get("run")
    return f"{text}; {run.manifest.get('device', 'device not stored')}" + (
        f"; seed {seed}." if seed is not None else "."
    )
