"""A against B on Group maps: which sets stand side by side, and whether they differ by more than chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy import stats
from store_factory import make_larger_run

import store
from dashboard.data import comparison, permutations, runs
from dashboard.data.averages import Average
from dashboard.data.comparison import CannotCompareError
from dashboard.data.selection import ScanFilter, Selection, explained_scans
from dashboard.shell import access
from dashboard.views.group_maps import peaks
from dashboard.views.regions import against
from dashboard.views.shared import kept_set
from dashboard.views.shared import two_sets as columns
from store.reading.streaming import SubjectMaps

PAGE = "views/group_maps/page.py"

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("larger")
    make_larger_run(folder)
    return folder


@pytest.fixture
def selection(larger) -> Selection:
    info = store.list_runs(larger)[0]
    return Selection(runs.Run(str(larger), info.run, info.created), "holdout", "sensitivity", "AD")


def pair(selection: Selection, **changes) -> tuple[Average, Average]:
    of = lambda diagnosis: Average(  # noqa: E731
        selection.of(scan_filter=ScanFilter(diagnosis=(diagnosis,))), **{"value": "signed", "scale": "margin"} | changes
    )
    return of("AD"), of("NC")


def quiet(*_) -> None:
    pass


# -- which sets -------------------------------------------------------------------------------------------------------


def test_two_sets_part_the_scans_that_pass_the_other_filters(selection):
    rows = explained_scans(selection.run, selection.model_set)
    for by in (columns.DECISION, columns.SEX, columns.AGE):
        if not columns.can_part(rows, by):
            continue
        found = columns.parted(ScanFilter(), rows, by)
        first, second = (set(rows.scan[one.passing(rows)]) for one in found.values())
        assert first
        assert second
        assert not first & second, by
        known = rows if by != columns.DECISION else rows[rows.correct.notna()]
        assert first | second == set(known.scan), by


def test_ages_are_parted_at_the_median_over_subjects_within_the_filter():
    rows = pd.DataFrame({"subject": list("abcde"), "age": [60.0, 61, 70, 80, 90], "scan": list("abcde")})
    younger, older = columns.parted(ScanFilter(), rows, columns.AGE).values()
    assert (younger.age, older.age) == ((60, 70), (80, 90))
    same = rows.assign(age=[60.0, 90, 90, 90, 90])
    assert [one.age for one in columns.parted(ScanFilter(), same, columns.AGE).values()] == [(60, 60), (90, 90)]


def test_sites_are_two_that_are_chosen():
    rows = pd.DataFrame({"site": ["a", "b", "c"], "subject": [1, 2, 3]})
    found = columns.parted(ScanFilter(sex=("F",)), rows, columns.SITE, "c", "a")
    assert found == {"c": ScanFilter(sex=("F",), site=("c",)), "a": ScanFilter(sex=("F",), site=("a",))}


def test_a_kept_set_comes_back_from_the_link(selection):
    rows = explained_scans(selection.run, selection.model_set)
    subjects = str(rows.subject.iloc[0]), str(rows.subject.iloc[-1])
    for one in (
        ScanFilter(),
        ScanFilter(diagnosis=("AD",), sex=("F",), age=(60.0, 75.5), correct=False),
        ScanFilter(subject=subjects),
    ):
        text = kept_set.as_text(one)
        assert kept_set.from_text(text, rows) == one
        assert subjects[0] not in text
    assert kept_set.from_text("none", rows) is None
    strange = ScanFilter(site=("a;b,c=d",))
    assert kept_set.from_text(kept_set.as_text(strange), rows.assign(site="a;b,c=d")) == strange
    for wrong, why in (
        ("xx=1", "is no filter"),
        ("dx=MCI5", "not in this run"),
        ("age=60", "two ages"),
        ("ok=1", "ok="),
    ):
        with pytest.raises(ValueError, match=why):
            kept_set.from_text(wrong, rows)


# -- the test ---------------------------------------------------------------------------------------------------------


def test_t_is_that_of_two_samples_of_subjects(selection, monkeypatch):
    monkeypatch.setattr(comparison, "BLOCK_MM", 2.0)  # the grid's own voxels
    first, second = pair(selection)
    found = comparison.difference(first, second, quiet)
    reader = runs.opened(selection.run)
    by_subject = []
    for one in (first, second):
        rows = one.selection.rows()
        maps = [
            reader.heatmap(r.model, "sensitivity", r.scan, target="AD")[reader.mask != 0] for r in rows.itertuples()
        ]
        by_subject.append(pd.DataFrame(maps).groupby(rows.subject.to_numpy()).mean().to_numpy())
    expected = stats.ttest_ind(*by_subject).statistic
    assert found.t.values()[:-1] == pytest.approx(expected, abs=0.01)
    assert found.subjects == tuple(map(len, by_subject))
    assert not found.adjusted
    # Noise: the largest of all |t| is no rarer than the level of the test, and larger ones have smaller p.
    order = np.argsort(np.abs(expected))
    assert (np.diff(found.p.values()[:-1][order]) <= 1e-3).all()
    assert found.smallest == pytest.approx(found.p.values()[:-1].min(), abs=1e-3)


@pytest.mark.parametrize("networks", [0, 5])
def test_all_permutations_at_once_equal_nilearns_one_by_one(networks):
    random, subjects = np.random.default_rng(0), 40
    values = random.normal(size=(subjects, permutations.UNITS_AT_ONCE + 7)).astype(np.float32)
    is_first = (np.arange(subjects) < 15).astype(float)
    values[:15, -1] += 1
    others = np.eye(networks)[np.arange(subjects) % networks][:, 1:] if networks else None
    found = permuted_ols(
        is_first[:, None], values, others, n_perm=20, two_sided_test=True, random_state=7, output_type="dict"
    )
    stream = np.random.RandomState(np.random.RandomState(7).randint(1, np.iinfo(np.int32).max - 1))
    dealt = [np.arange(subjects)]  # nilearn deals out what it has dealt before
    for _ in range(20):
        dealt.append(dealt[-1][stream.permutation(subjects)])
    t, largest = permutations.t_of_difference(is_first, values, others, np.array(dealt[1:]))
    assert t == pytest.approx(found["t"][0], abs=1e-5)
    assert largest == pytest.approx(found["h0_max_t"].ravel(), abs=1e-4)


def test_a_confound_that_others_add_up_to_changes_nothing():
    random = np.random.default_rng(1)
    values, is_first = random.normal(size=(30, 50)), (np.arange(30) < 12).astype(float)
    networks = np.eye(3)[np.arange(30) % 3]
    dealt = permutations.draw(30, 10, 0)
    assert (np.sort(dealt, axis=1) == np.arange(30)).all()
    twice, once = (permutations.t_of_difference(is_first, values, z, dealt) for z in (networks, networks[:, 1:]))
    assert twice[0] == pytest.approx(once[0])
    assert twice[1] == pytest.approx(once[1], rel=1e-4)


def test_a_planted_difference_is_found_and_noise_is_not(selection, monkeypatch):
    random, first, second = np.random.default_rng(3), *pair(selection)
    names = [list(dict.fromkeys(one.selection.rows().subject.astype(str))) for one in (first, second)]
    size = int((runs.opened(selection.run).mask != 0).sum())
    values = random.normal(size=(sum(map(len, names)), size)).astype(np.float32)

    def asked(planted: float):
        moved = values.copy()
        moved[: len(names[0]), 5] += planted
        inside = runs.opened(selection.run).mask != 0

        def to_volume(units: np.ndarray) -> np.ndarray:
            volume = np.zeros(inside.shape, np.float32)
            volume[inside] = units
            return volume

        maps = SubjectMaps(tuple(names[0] + names[1]), ("m",) * len(moved), moved, 0, to_volume)
        monkeypatch.setattr(store.RunReader, "subject_maps", lambda *_, **__: maps)
        return comparison._tested(first, second, quiet)

    found = asked(5.0)
    assert found.significant == 1
    assert found.t.values()[5] == pytest.approx(found.t.peak, rel=1e-3)
    assert found.t.peak > found.critical > 3
    assert found.smallest == pytest.approx(1 / 1001)
    nothing = asked(0.0)
    assert nothing.significant == 0
    assert nothing.smallest > 0.05
    assert nothing.critical == pytest.approx(found.critical, rel=0.1)


def test_networks_that_explain_different_subjects_are_a_confound(selection, monkeypatch):
    first, second = pair(selection)
    names = [list(dict.fromkeys(one.selection.rows().subject.astype(str))) for one in (first, second)]
    models = ["x"] * (len(names[0]) - 1) + ["y"] + ["x"] + ["y"] * (len(names[1]) - 1)
    values = np.random.default_rng(0).normal(size=(len(models), 30)).astype(np.float32)
    values[np.array(models) == "x"] += 8  # of the network, not of the set
    size = int((runs.opened(selection.run).mask != 0).sum())

    def to_volume(units: np.ndarray) -> np.ndarray:
        volume = np.zeros(runs.opened(selection.run).mask.shape, np.float32)
        volume.ravel()[np.flatnonzero(runs.opened(selection.run).mask)[:30]] = units
        return volume

    assert size > 30
    for known, expected in ((tuple(models), 0), (("x",) * len(models), 30)):
        maps = SubjectMaps(tuple(names[0] + names[1]), known, values, 0, to_volume)
        monkeypatch.setattr(store.RunReader, "subject_maps", lambda *_, maps=maps, **__: maps)
        found = comparison._tested(first, second, quiet)
        assert found.adjusted == (expected == 0)
        assert found.significant == expected


def test_subjects_in_both_sets_are_left_out_and_too_few_are_refused(selection):
    first, second = pair(selection)
    everyone = Average(selection.of(scan_filter=ScanFilter()), value="signed", scale="margin")
    with pytest.raises(CannotCompareError, match="12 subjects with scans in both are left out"):
        comparison.sets_of(first, everyone)
    with pytest.raises(CannotCompareError, match="choose the magnitude"):
        comparison.difference(*pair(selection, value="spread"), quiet)
    few = replace(first, selection=first.selection.of(scan_filter=ScanFilter(subject=("AD0", "AD1"))))
    with pytest.raises(CannotCompareError, match="these have 2 and 12: widen"):
        comparison.difference(few, second, quiet)


def test_regions_have_the_false_discovery_rate(selection):
    first, second = pair(selection)
    rows = explained_scans(selection.run, selection.model_set)
    names = pd.DataFrame({"region": ["a", "b", "c"], "in_atlas": True})
    random = np.random.default_rng(0)
    sums = random.uniform(1, 2, (len(rows), 3))
    sums[rows.diagnosis.eq("AD").to_numpy(), 0] += 4
    found = comparison.regions(first, second, sums, rows, names)
    shares = pd.DataFrame(sums / sums.sum(axis=1, keepdims=True)).groupby([rows.diagnosis, rows.subject]).mean()
    expected = stats.ttest_ind(shares.loc["AD"], shares.loc["NC"], equal_var=False)
    assert found.set_index("region").loc[["a", "b", "c"], "p"].to_numpy() == pytest.approx(expected.pvalue)
    assert found.q.to_numpy() == pytest.approx(stats.false_discovery_control(found.p))
    assert found.region.iloc[0] == "a"
    interval = stats.ttest_1samp(shares.loc["AD", 0], 0).confidence_interval()
    assert (found.first_low[0], found.first_high[0]) == pytest.approx(tuple(interval))
    assert found.difference.iloc[0] > 0


# -- the page ---------------------------------------------------------------------------------------------------------


def test_women_stand_beside_men_and_are_tested(open_view, larger):
    app = open_view(PAGE, larger, set="holdout", g_by="sex", g_test="open", g_value="signed")
    assert not app.exception
    assert app.query_params["g_by"] == "sex"
    text = "\n".join(one.value for one in [*app.markdown, *app.caption])
    assert "(Women)" in text
    assert "Nothing says that Women and Men differ" in text or "differ in" in text
    assert "**By region**" in text


def test_any_two_sets_stand_beside_each_other(open_view, larger):
    link = {"set": "holdout", "g_by": "kept", "g_a": "dx=AD", "dx": "NC", "method": "sensitivity"}
    app = open_view(PAGE, larger, g_methods="sensitivity", **link)
    assert not app.exception
    assert app.query_params["g_a"] == "dx=AD"
    assert "(A: AD)" in "".join(one.value for one in app.markdown)
    app = open_view("views/regions/page.py", larger, r_part="sets", **link)
    assert not app.exception
    assert "**By region**" in "".join(one.value for one in app.markdown)
    table = app.dataframe[0].value
    assert {"A: AD, %", "B: NC, %", "Difference", "p", "q", "Code"} <= set(table)
    assert table["Difference"].to_numpy() == pytest.approx((table["A: AD, %"] - table["B: NC, %"]).to_numpy())
    same = open_view("views/regions/page.py", larger, r_part="sets", **link | {"dx": "AD"})
    assert not same.exception
    assert any("is kept. Now change the filters" in one.value for one in same.caption)


def test_regions_are_sorted_by_what_is_asked():
    table = pd.DataFrame({"region": list("abc"), "p": [0.3, 0.1, 0.2], "difference": [0.1, 0.2, -0.3]})
    table["first"], table["second"] = [3, 1, 2], [1, 2, 3]
    orders = {order: "".join(against.in_order(table, order).region) for order in against.ORDERS}
    assert orders == {"p": "bca", "difference": "cba", "first": "acb", "second": "cba"}


def test_the_peak_is_named_and_its_cluster_listed(selection, monkeypatch):
    first, second = pair(selection)
    reader = runs.opened(selection.run)
    inside = np.argwhere(reader.mask != 0)
    at = len(inside) // 2
    values = np.random.default_rng(3).normal(size=(24, len(inside))).astype(np.float32)
    values[:12, at] -= 5
    names = [name for one in (first, second) for name in dict.fromkeys(one.selection.rows().subject.astype(str))]

    def to_volume(units: np.ndarray) -> np.ndarray:
        volume = np.zeros(reader.mask.shape, np.float32)
        volume[reader.mask != 0] = units
        return volume

    maps = SubjectMaps(tuple(names), ("m",) * 24, values, 0, to_volume)
    monkeypatch.setattr(store.RunReader, "subject_maps", lambda *_, **__: maps)
    found = peaks.Compared(comparison._tested(first, second, quiet), first, second, ("AD", "NC"))
    mm = reader.affine()[:3, :3] @ inside[at] + reader.affine()[:3, 3]
    assert peaks.place_of_peak(selection.run, found.found.t) == pytest.approx(tuple(mm))
    words = peaks.in_words(found)
    assert f"MNI {peaks.mm(mm)}, t = −" in words or f"outside the atlas, MNI {peaks.mm(mm)}" in words
    assert words.endswith("p = 0.001; NC has more there.")
    table = peaks.clusters(found)
    assert table[["x_mm", "y_mm", "z_mm"]].to_numpy(float)[0] == pytest.approx(mm)
    assert len(table) == 1
    assert table.p[0] == pytest.approx(1 / 1001, abs=1e-4)
    assert table.value[0] == pytest.approx(found.found.t.peak)
    # A row of the list leads there: the picture of the test, and the slices of the page.
    chosen = {}
    monkeypatch.setattr(peaks.st, "session_state", {"g-clusters": {"selection": {"rows": [0]}}})
    monkeypatch.setattr(peaks.url_state, "set_before_next_pass", chosen.update)
    monkeypatch.setattr(peaks, "extent", lambda *_: (-100.0, 100.0))
    peaks._jump(selection.run, table, "axial")
    assert chosen == {"g_place": "_".join(f"{v:g}" for v in mm), "g_n": "3", "g_z": str(round(mm[2])),
        "gv_mm": ",".join(f"{v:g}" for v in mm),
    }  # fmt: skip
    assert peaks._place(chosen["g_place"]) == pytest.approx(tuple(mm))
    for wrong in ("1_2", "a_b_c", "1_2_999"):
        with pytest.raises(ValueError, match="mm"):
            peaks._place(wrong)


def test_readers_without_the_role_have_groups_alone_and_no_test(open_view, larger, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    app = open_view(PAGE, larger, set="holdout", g_by="sex", g_test="open")
    assert not app.exception
    assert not any("differ by more than chance" in box.label for box in app.expander)
    assert "(Women)" not in "\n".join(one.value for one in app.markdown)
