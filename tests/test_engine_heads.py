"""Changes imposed on real heads: on the person's own regions, as much as asked, and nothing else tells groups apart.

The heads are made up: the template, deformed, with the AAL regions as each one's own segmentation.
"""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage

from engine.atlas.aal import load_atlas
from engine.config.cohort_schema import CohortConfig, Heads, Simulation
from engine.config.loading import load_config
from engine.config.preprocessing_schema import PreprocessingConfig
from engine.config.schema import AtlasConfig, RunConfig, TrainingConfig
from engine.errors import UserError
from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.pipeline import check_people, fingerprints
from engine.pipeline import simulation_check as check
from engine.pipeline.method_benchmark.command import complete
from engine.pipeline.run import Run
from engine.progress import Progress
from engine.simulation.atrophy import sample
from engine.simulation.cohort import SHARED_FACTOR
from engine.simulation.fields import control_points, smooth_field
from engine.simulation.head_cohort import HEAD_NUISANCES, HeadPreparer, drawn_heads, read_on_heads
from engine.simulation.head_files import HeadFile, draw_groups, read_heads
from engine.simulation.head_names import MUSE, labels_of
from engine.simulation.head_truth import change_of_head, regions_of
from engine.simulation.heads import own_fluid
from engine.simulation.imposed import warped_volume
from engine.simulation.scenarios import SCENARIOS, Scenario
from store import open_run
from store.writing.validate import validate

HEADS = 6
PREPROCESSING = PreprocessingConfig(registration="none", brain_extraction="none", n4=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six heads in MNI space at 2 mm: T1, segmentation, their table and the labels' names."""
    folder, atlas = tmp_path_factory.mktemp("heads"), load_atlas(AtlasConfig(), 2)
    random, rows = np.random.default_rng(3), []
    for number in range(HEADS):
        warp = smooth_field(random.normal(size=(3, *control_points(40))), 2, 40)
        places = np.indices(Grid(2).shape) + warp * np.float32(1.0 / warp.std())
        brain = ndimage.map_coordinates(template_brain(2), places, order=1)
        labels = ndimage.map_coordinates(atlas.labels, places, order=0)
        nib.save(nib.Nifti1Image((brain * 200).astype(np.int16), Grid(2).affine), folder / f"anna-{number}_T1.nii.gz")
        nib.save(nib.Nifti1Image(labels.astype(np.int16), Grid(2).affine), folder / f"anna-{number}_seg.nii.gz")
        rows.append({"id": f"anna-{number}", "age": 60.4 + 2 * number, "sex": "FM"[number % 2]})
    pd.DataFrame(rows).to_csv(folder / "people.csv", index=False)
    regions = atlas.regions[["region", "index"]].rename(columns={"region": "name"})
    regions.to_csv(folder / "labels.csv", index=False)
    return folder


def _heads(folder, **more):
    return Heads(
        data=folder / "people.csv", path="{id}_T1.nii.gz", segmentation="{id}_seg.nii.gz", registration="none", **more
    )


def _simulation(folder, **more):
    given = {"positive": 3, "negative": 3, "solve_mm": 4, "heads": _heads(folder), **more}
    return Simulation(**given)


def _rows(simulation, seed=0):
    return read_on_heads(CohortConfig(simulation=simulation), seed).scans.to_dict("records")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def preparer(folder, cache):
    return HeadPreparer(_simulation(folder), 4, 0, PREPROCESSING, cache)


# -- who is in the cohort ---------------------------------------------------------------------------------------------


def test_subjects_are_different_heads_with_codes_and_the_note_of_their_licence(folder):
    simulation = _simulation(folder, heads=_heads(folder, note="Made up, CC0."))
    cohort = read_on_heads(CohortConfig(simulation=simulation))
    assert sorted(cohort.scans["age"]) == [60, 62, 64, 66, 68, 70]  # to the year
    assert len({head.key for head in drawn_heads(simulation, 0)}) == HEADS
    assert not cohort.scans.astype(str).apply(lambda column: column.str.contains("anna")).any().any()
    assert any("6 real heads. Made up, CC0." in line for line in cohort.remarks)


def test_fewer_heads_than_subjects_is_one_clear_error(folder):
    with pytest.raises(UserError, match=r"heads\.data: 6 heads for 7 subjects.*simulation\.positive"):
        read_on_heads(CohortConfig(simulation=_simulation(folder, positive=4)))


def test_the_same_head_under_two_names_is_refused(folder, tmp_path):
    table = pd.read_csv(folder / "people.csv")
    for end in ("T1", "seg"):
        (tmp_path / f"other_{end}.nii.gz").write_bytes((folder / f"anna-0_{end}.nii.gz").read_bytes())
    table["file"] = [folder / name for name in table["id"]]
    again = pd.concat([table, table.iloc[:1].assign(id="other", file=tmp_path / "other")])
    again.to_csv(tmp_path / "people.csv", index=False)
    heads = Heads(data=tmp_path / "people.csv", path="{file}_T1.nii.gz", segmentation="{file}_seg.nii.gz")
    with pytest.raises(UserError, match="the same head under two names"):
        read_heads(heads)
    again.assign(id=[*table["id"], "anna-0"]).to_csv(tmp_path / "people.csv", index=False)
    assert len(read_heads(heads)) == HEADS  # a person who is there twice is taken once


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": None}, r"heads\.data: give the folder"),
        ({"segmentation": "{id}_none.nii.gz"}, r"heads\.segmentation: no file anna-0_none.nii.gz"),
        ({"path": "{nobody}_T1.nii.gz"}, "no column nobody"),
    ],
)
def test_bad_input_is_one_clear_error(folder, change, message):
    with pytest.raises(UserError, match=message):
        read_heads(_heads(folder).model_copy(update=change))


def test_patients_of_a_confound_are_the_older_heads(folder):
    simulation = _simulation(folder, scenario="confound", effect=0.5)
    scans = read_on_heads(CohortConfig(simulation=simulation)).scans
    means = scans.groupby("group")["age"].mean()
    assert means["AD"] - means["NC"] == pytest.approx(4, abs=1)
    assert (scans["severity"] == 0).all()
    null = read_on_heads(CohortConfig(simulation=simulation.model_copy(update={"effect": 0.0}))).scans
    assert null.groupby("group")["age"].mean().diff().abs().max() <= 2.1
    with pytest.raises(UserError, match="16 years older, and by these heads they can be 6"):
        read_on_heads(CohortConfig(simulation=simulation.model_copy(update={"effect": 2.0})))


def test_a_group_is_older_by_as_much_as_asked_and_no_other_way():
    random = np.random.default_rng(1)
    heads = tuple(
        HeadFile(None, None, str(k), age, sex, np.nan)
        for k, (age, sex) in enumerate(zip(random.uniform(20, 90, 150), random.choice(["F", "M"], 150), strict=True))
    )
    others = np.zeros(150)
    for seed in range(5):
        drawn = draw_groups(heads, (50, 50, 20), seed, 8.0)
        assert len({head.key for head in drawn}) == 120
        ill, healthy, asked = drawn[:50], drawn[50:100], drawn[100:]
        ages = [np.mean([head.age for head in group]) for group in (ill, healthy, asked)]
        assert ages[0] - ages[1] == pytest.approx(8, abs=1)
        assert abs(np.mean([h.sex == "F" for h in ill]) - np.mean([h.sex == "F" for h in healthy])) < 0.1
        assert abs(np.mean([h.age > 55 for h in ill]) - 0.5) < 0.35  # not the oldest alone
        others[[int(head.key) for head in asked]] += 1
    assert others.max() < 5
    with pytest.raises(UserError, match=r"the table has no ages by which to tell; give the age of everybody"):
        draw_groups(tuple(replace(head, age=np.nan) for head in heads), (50, 50), 0, 8.0)


def test_groups_are_drawn_at_random_and_balanced():
    random = np.random.default_rng(0)
    heads = tuple(
        HeadFile(None, None, str(k), age, sex, np.nan)
        for k, (age, sex) in enumerate(zip(random.uniform(20, 90, 120), random.choice(["F", "M"], 120), strict=True))
    )
    positive = np.zeros(120)
    for seed in range(40):
        drawn = draw_groups(heads, (50, 50), seed)
        assert len({head.key for head in drawn}) == 100
        ill, healthy = drawn[:50], drawn[50:]
        positive[[int(head.key) for head in ill]] += 1
        assert abs(np.mean([h.age for h in ill]) - np.mean([h.age for h in healthy])) < 2
        assert abs(np.mean([h.sex == "F" for h in ill]) - np.mean([h.sex == "F" for h in healthy])) < 0.1
    assert positive.min() > 3  # nobody is a patient, or healthy, by what they are
    assert positive.max() < 32
    unknown = tuple(replace(head, age=np.nan, sex="") for head in heads)
    assert len(draw_groups(unknown, (50, 50), 0)) == 100


# -- identity ---------------------------------------------------------------------------------------------------------


def test_cohorts_without_heads_keep_their_identity_and_places_are_none(folder, tmp_path):
    assert "heads" not in Simulation().model_dump()
    simulation = _simulation(folder)
    moved = simulation.model_copy(update={"heads": _heads(folder).model_copy(update={"data": tmp_path})})
    assert str(folder) not in simulation.model_dump_json()
    assert moved.model_dump_json() == simulation.model_dump_json()
    config = RunConfig(cohort=CohortConfig(simulation=simulation))
    other = config.model_copy(update={"preprocessing": PREPROCESSING})
    assert fingerprints.volumes_fingerprint(other) != fingerprints.volumes_fingerprint(config)


# -- regions ----------------------------------------------------------------------------------------------------------


def test_regions_are_found_by_name_by_muse_and_by_the_user():
    muse = {"Hippocampus_R": 47, "Hippocampus_L": 48, "Ventricles": 509, "EntorhinalArea_L": 117}
    muse |= {"ParahippocampalGyrus_L": 171, "3rdVentricle": 4, "InfLatVentricle_L": 50, "LateralVentricle_L": 52}
    assert labels_of("Hippocampus", muse, {}) == (47, 48)
    assert labels_of("Hippocampus_L", muse, {}) == (48,)
    assert labels_of("ParaHippocampal", muse, {}) == (117, 171)
    assert labels_of("Ventricles", muse, {}) == (4, 50, 52)  # 509 is a sum of labels, of no voxel
    aal = {"Temporal_Inf_L": 1, "Temporal_Inf_R": 2, "Ventricles": 9}
    assert labels_of("Temporal_Inf", aal, {}) == (1, 2)
    assert labels_of("Temporal_Inf_R", aal, {}) == (2,)
    assert labels_of("Ventricles", aal, {}) == (9,)
    mine = {"ITG left_L": 5, "ITG right_R": 6}
    assert labels_of("Temporal_Inf_R", mine, {"Temporal_Inf": ["ITG left_L", "ITG right_R"]}) == (6,)
    with pytest.raises(UserError, match=r"heads\.regions=\{Temporal_Inf: \["):
        labels_of("Temporal_Inf", {"somewhere": 1}, {})
    with pytest.raises(UserError, match="no label is called ITG"):
        labels_of("Temporal_Inf", mine, {"Temporal_Inf": ["ITG"]})


def test_every_region_of_every_scenario_has_labels_of_muse():
    wanted = {name for scenario in SCENARIOS.values() for p in scenario.patterns for name in p.change}
    assert {name.removesuffix("_L").removesuffix("_R") for name in wanted if "Blob" not in name} <= set(MUSE)


# -- the change -------------------------------------------------------------------------------------------------------


def test_each_region_of_a_head_changes_as_asked(preparer):
    row = next(row for row in _rows(preparer.simulation) if row["group"] == "AD")
    atlas, pattern = load_atlas(AtlasConfig(), 4), preparer.pattern(row)
    log_jacobian, table = change_of_head(preparer, row, regions_of(pattern, atlas))
    assert len(table) >= 25
    assert (table["achieved"] / table["requested"] - 1).abs().max() < 0.1
    own_severity = table["changed_volume"] / table["volume"] - 1  # a milder or a stronger case of the same
    expected = np.log1p(table["achieved"]) * row["severity"]
    assert np.log1p(own_severity).to_numpy() == pytest.approx(expected.to_numpy(), rel=0.25)
    # Another way: label eight random points of each voxel of the deformed head by the nearest voxel before, and count.
    body = preparer.body(row)
    flow, asked = preparer.flow(row, body)
    own = np.where(body.cover > 0.5, body.labels, 0)
    corners = np.indices([2 * n for n in own.shape], dtype=np.float32) / 2 - 0.5
    points = corners + np.random.default_rng(0).uniform(0, 0.5, corners.shape).astype(np.float32)
    field = flow.displacement(1.0) * (asked.mm / body.mm)
    moved = points + np.stack(
        [ndimage.map_coordinates(part, points * (body.mm / asked.mm), order=1, mode="nearest") for part in field]
    )
    deformed = ndimage.map_coordinates(own, moved, order=0)
    for region in ("Hippocampus_L", "Hippocampus_R", "Temporal_Inf_L", "Ventricles"):
        labels = preparer.labels(region)
        counted = np.isin(deformed, labels).sum() / 8 / np.isin(own, labels).sum() - 1
        assert counted == pytest.approx(table.set_index("region").loc[region, "requested"], rel=0.1), region
    inside = load_atlas(AtlasConfig(), 4).mask("Hippocampus")
    assert log_jacobian[inside].mean() < -0.1


def test_outside_the_reach_a_patient_is_bit_by_bit_the_twin(preparer):
    row = next(row for row in _rows(preparer.simulation) if row["group"] == "AD")
    scan, twin = preparer.volume(row), preparer.volume(row, imposed=False)
    changed = scan != twin
    assert changed.any()
    body = preparer.body(row)
    away_mm = ndimage.distance_transform_edt(~preparer.flow(row, body)[1].anywhere) * 4
    assert not changed[away_mm > 12 + 12].any()  # the reach, and what shift and sham carry it along
    assert (~changed & brain_mask(4)).sum() > 0.1 * brain_mask(4).sum()


def test_nothing_but_the_change_depends_on_the_group(preparer):
    """The same person as patient and as control, all draws alike: only the imposed change may differ."""
    rows = _rows(preparer.simulation)
    patient = next(row for row in rows if row["group"] == "AD")
    as_control = {**patient, "group": "NC", "diagnosis": "NC", "severity": 0.0}
    assert np.array_equal(preparer.volume(as_control), preparer.volume(patient, imposed=False))
    null = replace(preparer, simulation=preparer.simulation.model_copy(update={"effect": 0.0}))
    row = _rows(null.simulation)[0]
    assert row["group"] == "AD"
    assert row["severity"] == 0
    assert np.array_equal(null.volume(row), preparer.volume(row, imposed=False))  # shams are those of effect 1
    for name in ("sham", "noise", "bias_field"):
        for one in (as_control, patient):
            assert not np.array_equal(preparer.volume(one, False, (name,)), preparer.volume(one, False))


def test_space_that_opens_is_filled_with_the_persons_own_fluid(preparer):
    """Where the brain leaves its border there was nothing, and where a fold opens there was stretched grey matter."""
    row = next(row for row in _rows(preparer.simulation) if row["group"] == "AD")
    strong = {**row, "severity": 2.0}
    off = ("sham", "misregistration", "noise", "bias_field", "gamma", "intensity")
    scan, twin = preparer.volume(strong, without=off), preparer.volume(strong, False, off)
    body = preparer.body(row)
    level = np.median(own_fluid_of(preparer, row))
    border = brain_mask(4) & ~ndimage.binary_erosion(brain_mask(4), iterations=1) & (np.abs(scan - twin) > 0.05)
    assert border.any()
    cover = body.cover[::2, ::2, ::2]
    assert scan[border & (cover > 0.9)].min() > 0.5 * level  # never the black of outside
    # What becomes fluid is darker than it was; no voxel is darker than fluid and what was there.
    darker = scan < twin - 0.1
    assert darker.sum() > 50
    assert scan[darker & (cover > 0.9)].min() > 0.5 * level


def own_fluid_of(preparer, row):
    body = preparer.body(row)
    return body.fluid[body.ventricles]


def test_fluid_is_that_of_the_inner_ventricles(preparer):
    body = preparer.body(_rows(preparer.simulation)[0])
    head = type("Head", (), {"brain": body.sharp, "cover": np.ones_like(body.sharp), "labels": body.labels})
    values = own_fluid(head, preparer.labels("Ventricles"))
    assert np.median(values) < 0.55
    assert len(values) > 100


@pytest.fixture(scope="module")
def varied(folder, cache):
    """Heads of a cohort with a factor that both groups share; its change is of two regions, to be solved faster."""
    return HeadPreparer(_simulation(folder, scenario="suppressor"), 4, 0, PREPROCESSING, cache)


def test_the_shared_factor_changes_a_region_by_its_sign_and_size(varied, monkeypatch):
    """The same person as patient and as control has the same variation: the draw knows nothing of the group."""
    patient = next(row for row in _rows(varied.simulation) if row["group"] == "AD")
    body, base = varied.body(patient), varied.template()
    own = np.isin(body.labels, varied.labels("Frontal_Mid_2_L")) & (body.cover > 0.5)
    still = varied._deformed(body, base.identity, [])
    inner = own[::2, ::2, ::2] & (still > 0.5)
    for factor, change in ((1.0, -0.15), (-1.0, 1 / 0.85 - 1)):
        monkeypatch.setattr(Scenario, "draw_factor", lambda _self, _seed, _number, f=factor: f)
        step = varied._shared_step(patient, body)
        assert _carried(step, own, body.mm) == pytest.approx(change, abs=0.04)
        moved = varied._deformed(body, base.identity, [step])
        assert np.abs(moved - still).max() > 0.1
        # What was asked to grow is more of the same tissue, and no fluid.
        assert factor > 0 or moved[inner].mean() > 0.97 * still[inner].mean()


def test_twins_have_the_shared_factor_and_can_be_without(varied):
    patient = next(row for row in _rows(varied.simulation) if row["group"] == "AD")
    control = {**patient, "group": "NC", "diagnosis": "NC", "severity": 0.0}
    twin = varied.volume(patient, imposed=False)
    assert np.array_equal(varied.volume(control), twin)
    assert not np.array_equal(varied.volume(patient), twin)
    assert not np.array_equal(varied.volume(control, without=(SHARED_FACTOR,)), twin)


def _carried(step, region, mm):
    """Return the relative change of volume of a region that a step carries along."""
    at = np.indices(region.shape, dtype=np.float32) * (mm / step.mm)
    return warped_volume(region, sample(step.displacement, at) * (step.mm / mm)) - 1


def test_the_factor_is_no_sign_of_the_group():
    scenario = SCENARIOS["suppressor"]
    drawn = np.array([scenario.draw_factor(0, number) for number in range(1, 401)])
    assert abs(drawn.mean()) < 0.15
    assert drawn.std() == pytest.approx(0.95, abs=0.1)  # cut off at two
    assert abs(drawn[:200].mean() - drawn[200:].mean()) < 0.3


def test_what_was_prepared_and_solved_is_not_done_again(preparer, monkeypatch):
    row = next(row for row in _rows(preparer.simulation) if row["group"] == "AD")
    first = preparer.volume(row)

    def never(*_):
        raise AssertionError("done again")

    monkeypatch.setattr("engine.simulation.heads.prepare_head", never)
    monkeypatch.setattr("engine.simulation.heads.solve_velocity", never)
    assert np.array_equal(preparer.volume(row), first)


def test_a_segmentation_of_another_head_is_refused(folder, tmp_path):
    far = Grid(2).affine.copy()
    far[:3, 3] += 1000
    labels = np.zeros(Grid(2).shape, np.int16)
    labels[40:60, 40:60, 40:60] = 1
    nib.save(nib.Nifti1Image(labels, far), tmp_path / "far.nii.gz")
    table = pd.read_csv(folder / "people.csv").assign(seg=str(tmp_path / "far.nii.gz"))
    table["file"] = [f"{folder / name}_T1.nii.gz" for name in table["id"]]
    table.to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "labels.csv").write_text((folder / "labels.csv").read_text())
    heads = Heads(data=tmp_path / "people.csv", path="{file}", segmentation="{seg}", registration="none")
    simulation = _simulation(folder, heads=heads)
    with pytest.raises(UserError, match="not one label is in the head's image"):
        HeadPreparer(simulation, 4, 0, PREPROCESSING, None).volume(_rows(simulation)[0])


# -- the check of a cohort -------------------------------------------------------------------------------------------


def _checked(folder, **more):
    simulation = _simulation(folder, **more)
    training = TrainingConfig(epochs=1, learning_rate=0.001)
    return RunConfig(cohort=CohortConfig(simulation=simulation), preprocessing=PREPROCESSING, training=training)


def test_who_is_asked_about_is_no_head_of_the_training(folder, tmp_path, monkeypatch):
    config, extent = _checked(folder), check_people.Extent(1, None, 40)
    with pytest.raises(UserError, match=r"heads: 6 heads are too few .*; give 30 or more"):
        check_people.people_of(config, extent, tmp_path)
    monkeypatch.setattr(check_people, "LEAST_HEADS", HEADS)
    people = check_people.people_of(config, extent, tmp_path)
    asked, trained = ({people.ask_preparer.head(row).key for row in rows} for rows in (people.asked, people.training))
    assert (len(asked), len(trained)) == (2, 4)  # a third of six
    assert not asked & trained
    assert sorted(row["group"] for row in people.training) == ["AD", "AD", "NC", "NC"]
    assert all(row["severity"] > 0 for row in people.asked)  # they can be rendered as patients
    assert people.ask_preparer.folder == tmp_path / ".cache" / "heads"
    fewer = check_people.people_of(config, check_people.Extent(1, 1, 1), tmp_path)
    assert (len(fewer.training), len(fewer.asked)) == (2, 1)


@pytest.mark.parametrize("scenario", ["typical_ad", "confound", "suppressor"])
def test_check_simulation_answers_for_real_heads(scenario, folder, tmp_path, monkeypatch):
    """Every question is asked of heads; of a confound, whether older people are called patients."""
    monkeypatch.setattr(check_people, "LEAST_HEADS", HEADS)
    brain, rendered = brain_mask(4), []

    def volume(_preparer, row, imposed=True, without=()):
        """White noise that knows whether the change is there, in the place of a deformed head."""
        rendered.append((row["subject"], imposed, without))
        noise = np.random.default_rng(len(rendered)).normal(1, 0.1, brain.shape)
        return np.where(brain, noise + 0.2 * (imposed and row["severity"] > 0), 0).astype(np.float32)

    monkeypatch.setattr(HeadPreparer, "volume", volume)
    monkeypatch.setattr(HeadPreparer, "warm_up", lambda *_: None)
    config = _checked(folder, scenario=scenario, effect=0.2)
    report = check.check(config, check_people.Extent(1, None, 2), torch.device("cpu"), Progress(quiet=True), tmp_path)
    nuisances = {f"nuisance_{name}" for name in HEAD_NUISANCES if name != "sham"}
    assert nuisances <= set(report["auc"])
    assert not {"nuisance_ageing", "nuisance_size"} & set(report["auc"])  # of template brains alone
    assert ("nuisance_shared_factor" in report["auc"]) == (scenario == "suppressor")
    assert report["expected"] == [check.OLDER if scenario == "confound" else check.IMPOSED]
    assert report["heads"]
    assert report["n"][check.SHAM] == [2, 2]
    if scenario == "confound":
        assert report["n"][check.OLDER] == [1, 1]
        assert not report["passed"][check.OLDER]  # of one person on each side nothing can be said
        assert "does not find that patients are older" in check.sentence(report)
    assert len({subject for subject, *_ in rendered}) == HEADS


# -- a run from heads to heatmaps -------------------------------------------------------------------------------------


def test_a_run_on_heads_from_their_files_to_a_sound_store(folder, tmp_path):
    """All stages, in this process; two regions' worth of change, so that six heads are solved in seconds."""
    simulation = {
        "positive": 3, "negative": 3, "solve_mm": 4, "scenario": "left_hippocampus",
        "heads": {"data": str(folder / "people.csv"), "path": "{id}_T1.nii.gz", "segmentation": "{id}_seg.nii.gz",
                  "registration": "none", "note": "Made up, CC0."},
    }  # fmt: skip
    config = load_config(
        None, "smoke",
        {
            "cohort.simulation": simulation, "preprocessing.brain_extraction": "none", "preprocessing.n4": False,
            "preprocessing.processes": 1, "split.holdout_per_group": 1, "training.models": ["holdout"],
            "training.epochs": 1, "explain.holdout": ["sensitivity"], "explain.folds": [], "store.scans": False,
            "analysis.untrained_networks": 1, "analysis.null_networks": 0, "trust.networks": 0, "trust.scans": 0,
            "trust.measures": [],
        },
    )  # fmt: skip
    published, is_new = complete(Run(config, tmp_path, "cpu", Progress(quiet=True)))
    assert is_new
    assert validate(published) == []
    run = open_run(tmp_path)
    assert run.simulated
    assert "Made up, CC0." in " ".join(run.manifest["notices"])
    heads = run.table("truth_heads")
    own = heads[heads["region"] == "Hippocampus_L"].dropna(subset="achieved")
    assert len(own) == 3
    assert own["achieved"].to_numpy() == pytest.approx(own["requested"].to_numpy(), rel=0.1)
    scores = run.table("truth_scores")
    assert scores.loc[scores["method"] == "sensitivity", "value"].notna().any()
    assert "anna" not in (published / "manifest.json").read_text()
