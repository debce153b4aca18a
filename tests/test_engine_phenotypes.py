"""Phenotypes of measured volumes: what is left of a volume, who is left out, what a user is told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.cli import main
from engine.cohort.phenotypes import Covariates, Phenotype, VolumesTable, parse_phenotype, phenotype_table, read_volumes
from engine.errors import UserError

PEOPLE, REGIONS = 200, 30
CORE = Phenotype("core", ("r0", "r1"), ("Putamen_L", "Putamen_R"))


def made_up(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The cohort (as text), its volumes, and what the phenotype should be: the part of r0 and r1 that is theirs alone.

    All regions share two factors, age and sex; r0 and r1 share a change of their own on top.
    """
    random = np.random.default_rng(seed)
    age, male = random.uniform(20, 80, PEOPLE), random.random(PEOPLE) < 0.5
    icv = np.exp(random.normal(14.2, 0.1, PEOPLE))
    shared = random.normal(0, 0.1, (PEOPLE, 2)) @ random.normal(0, 1, (2, REGIONS))
    log = shared + random.normal(0, 0.01, (PEOPLE, REGIONS)) - 0.004 * age[:, None] + 0.05 * male[:, None] - 5
    own = random.normal(0, 0.08, PEOPLE)
    log[:, :2] += own[:, None]
    names = [f"p{i}" for i in range(PEOPLE)]
    volumes = pd.DataFrame(np.exp(log) * icv[:, None], names, [f"r{i}" for i in range(REGIONS)]).assign(ICV=icv)
    cohort = pd.DataFrame(
        {"id": names, "age": [f"{a:.3f}" for a in age], "sex": np.where(male, "M", "F")}, names, dtype="string"
    )
    return cohort, volumes, own


def test_what_is_left_is_the_structures_own_and_nothing_of_age_sex_or_other_regions():
    cohort, volumes, own = made_up()
    table, made = phenotype_table(cohort, volumes, "ICV", [CORE], Covariates(components=3))
    value = table["core"].to_numpy(float)
    assert np.corrcoef(value, own)[0, 1] > 0.97
    assert value.mean() == pytest.approx(0, abs=1e-9)
    assert value.std(ddof=1) == pytest.approx(1)
    assert abs(np.corrcoef(value, cohort["age"].astype(float))[0, 1]) < 1e-6
    assert abs(np.corrcoef(value, cohort["sex"] == "M")[0, 1]) < 1e-6
    record = made["phenotypes"]["core"]
    raw = np.log(volumes[["r0", "r1"]].sum(axis=1) / volumes["ICV"])
    others = np.log(volumes[[f"r{i}" for i in range(2, REGIONS)]].div(volumes["ICV"], axis=0))
    assert record["largest_correlation_with_another"]["before"] == pytest.approx(others.corrwith(raw).abs().max())
    assert record["largest_correlation_with_another"]["before"] > 0.5
    assert record["largest_correlation_with_another"]["after"] < 0.25
    assert record["variance_left"] == pytest.approx((record["sd_log_volume"] / raw.std()) ** 2)
    assert (record["regions"], record["other_regions"]) == (["Putamen_L", "Putamen_R"], REGIONS - 2)


def test_without_covariates_and_components_it_is_the_z_score_of_the_log_share():
    cohort, volumes, _ = made_up()
    table, made = phenotype_table(cohort, volumes, "ICV", [CORE], Covariates((), 0))
    raw = np.log((volumes["r0"] + volumes["r1"]) / volumes["ICV"])
    np.testing.assert_allclose(table["core"], (raw - raw.mean()) / raw.std(), rtol=1e-9)
    assert made["phenotypes"]["core"]["variance_left"] == pytest.approx(1)


def test_people_whose_segmentation_failed_have_no_value_and_change_none():
    cohort, volumes, _ = made_up()
    whole, _ = phenotype_table(cohort.drop("p7"), volumes, "ICV", [CORE], Covariates(components=3))
    volumes.loc["p7", "r20"] = 0.0
    table, made = phenotype_table(cohort, volumes, "ICV", [CORE], Covariates(components=3))
    assert np.isnan(table.loc["p7", "core"])
    np.testing.assert_allclose(table.drop("p7")["core"], whole["core"])
    assert made["left_out"] == {"a region was not found by the segmentation": 1}
    assert made["people"] == PEOPLE - 1


def test_a_region_that_many_lack_is_no_region_and_leaves_nobody_out():
    cohort, volumes, _ = made_up()
    volumes["rare"] = np.where(np.arange(PEOPLE) % 3, 0.0, 1e3)
    _, made = phenotype_table(cohort, volumes, "ICV", [CORE], Covariates(components=3))
    assert made["people"] == PEOPLE
    assert made["phenotypes"]["core"]["other_regions"] == REGIONS - 2


def test_people_without_volumes_or_age_are_told():
    cohort, volumes, _ = made_up()
    cohort.loc["p3", "age"] = pd.NA
    table, made = phenotype_table(cohort, volumes.drop("p4"), "ICV", [CORE], Covariates(components=3))
    assert table["core"].isna().sum() == 2
    assert made["left_out"] == {"a covariate is missing": 1, "no volumes": 1}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c, v: (c.assign(core="1"), v), "the cohort's table has a column of that name"),
        (lambda c, v: (c, v.rename(columns={"r1": "other"})), "no volume r1"),
        (lambda c, v: (c.drop(columns="age"), v), "--covariates age"),
        (lambda c, v: (c.iloc[:10], v), "10 people with volumes and covariates are too few"),
        (lambda c, v: (c, v.assign(r1=0.0)), "r1 is 0 in more than 5% of the people"),
        (lambda c, v: (c, v.assign(ICV=0.0)), "the intracranial volume ICV is missing"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(change, text):
    cohort, volumes = change(*made_up()[:2])
    with pytest.raises(UserError, match=text):
        phenotype_table(cohort, volumes, "ICV", [CORE], Covariates(components=3))


def test_a_phenotype_is_written_as_volumes_and_regions():
    assert parse_phenotype("core=r0+r1: Putamen_L + Putamen_R") == CORE
    for wrong in ("core", "core=r0", "core=:Putamen_L", "=r0:Putamen_L", "a b=r0:Putamen_L"):
        with pytest.raises(UserError, match="write NAME=VOLUME"):
            parse_phenotype(wrong)


# -- the command ---------------------------------------------------------------------------------------------------


def files(folder):
    """A cohort, its volumes under numbers, sums among them, and the names of the numbers."""
    cohort, volumes, _ = made_up()
    numbers = {f"r{i}": i + 1 for i in range(REGIONS)} | {"ICV": 702}
    numbered = volumes.rename(columns=numbers).assign(**{"601": volumes["r0"] + volumes["r1"]})
    cohort.to_csv(folder / "people.csv", index=False)
    numbered.rename_axis("MRID").to_csv(folder / "volumes.csv")
    labels = pd.DataFrame({"index": [*numbers.values(), 601], "name": [*numbers, "Sum"]})
    labels.to_csv(folder / "labels.csv", index=False)
    return [
        "phenotypes", "--volumes", folder / "volumes.csv", "--labels", folder / "labels.csv", "--cohort",
        folder / "people.csv", "--sums-from", "300", "--components", "3",
        "--phenotype", "core=r0+r1:Putamen_L+Putamen_R", "--out", folder / "out" / "made.csv",
    ]  # fmt: skip


def run(arguments) -> int:
    return main.main({}, [str(a) for a in arguments])


def test_the_command_writes_the_cohort_with_its_phenotypes_and_how_they_were_made(tmp_path, capsys):
    assert run([*files(tmp_path), "--json"]) == 0
    table = pd.read_csv(tmp_path / "out/made.csv")
    cohort, volumes, _ = made_up()
    expected, made = phenotype_table(cohort, volumes, "ICV", [CORE], Covariates(components=3))
    assert table.columns.tolist() == ["id", "age", "sex", "core"]
    np.testing.assert_allclose(table["core"], expected["core"], rtol=1e-6)
    stored = json.loads((tmp_path / "out/made.json").read_text())
    assert stored["phenotypes"]["core"]["other_regions"] == made["phenotypes"]["core"]["other_regions"]
    assert stored["phenotypes"]["core"]["regions"] == ["Putamen_L", "Putamen_R"]
    assert "p7" not in (tmp_path / "out/made.json").read_text()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["people"] == PEOPLE


def test_sums_of_regions_are_left_out_when_they_are_named_so(tmp_path):
    files(tmp_path)
    table = VolumesTable(tmp_path / "volumes.csv", tmp_path / "labels.csv")
    assert "Sum" in read_volumes(table)
    without = read_volumes(VolumesTable(tmp_path / "volumes.csv", tmp_path / "labels.csv", sums_from=300))
    assert "Sum" not in without
    assert "ICV" in without


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--key", "name"], "no column name (--key)"),
        (["--volumes-key", "name"], "no column name (--volumes-key)"),
        (["--icv", "TIV"], "no volume TIV"),
        (["--out", "table.xlsx"], "let its name end in .csv"),
    ],
)
def test_mistakes_of_the_command(tmp_path, capsys, more, text):
    assert run([*files(tmp_path), *more]) == 2
    assert text in capsys.readouterr().err
