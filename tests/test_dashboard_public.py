"""What readers without the role get: groups as they were published, and nothing of a single person."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from crowd import NAME, REASONS, elements, make_crowd
from pages import given_charts
from store_factory import METHODS
from volume_routes import fetched, get

from dashboard import __main__ as serve_command
from dashboard import viewer
from dashboard.data import runs as data_runs
from dashboard.data.averages import Average
from dashboard.data.cohort import cohort_table
from dashboard.data.selection import ScanFilter, Selection
from dashboard.reports import cohort
from dashboard.serving import hosting
from dashboard.serving.hosting import Hosting
from dashboard.shell import access, page, public, sidebar
from dashboard.views.overview import charts as overview_charts
from dashboard.views.regions import one_region
from dashboard.views.regions import one_region_charts as charts
from dashboard.views.regions import tables as regions_tables
from store import NotInRunError, list_runs, open_run
from store import __main__ as store_command
from store.keys import GroupKey
from store.measures import percent_per_cm3
from store.small_groups import FEWEST

pytestmark = pytest.mark.usefixtures("anonymous")
PAGES = ("overview", "group_maps", "patient", "variability", "regions", "clinical", "distances", "trust",
         "compare_runs", "provenance")  # fmt: skip
CURIOUS = {
    "dx": "MCI", "scr": "MCI", "ok": "wrong", "sex": "F", "age": "71~72", "ses": "1", "cl": "x", "target": "predicted",
    "set": "folds", "g_scale": "probability", "g_value": "spread", "g_numbers": "open", "g_scans": "open",
    "r_numbers": "open", "r_by": "gain", "d_level": "scan", "o_metrics": "open", "cl_numbers": "open",
    "c_settings": "open", "c_metrics": "open", "site": "one", "g_by": "sex", "g_test": "open",
}  # fmt: skip
VISITS = [
    *((name, {}) for name in PAGES), *((name, CURIOUS) for name in PAGES),
    ("group_maps", CURIOUS | {"g_as": "viewer", "g_by": "sex"}),
    *(("regions", CURIOUS | {"r_part": part, "target": "AD"}) for part in ("methods", "paper", "region")),
]  # fmt: skip


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """A store with two runs of eleven AD, twelve NC and three MCI subjects, whose names are to be found nowhere."""
    return make_crowd(tmp_path_factory.mktemp("crowd"))


@dataclass
class Seen:
    """Everything that a page has sent: its texts, the numbers of its charts and tables, its files."""

    text: str
    numbers: np.ndarray
    files: dict[str, bytes]


@pytest.fixture
def seen(open_view, crowd, monkeypatch):
    """seen("regions", r_part="region") -> Seen, by a reader without the role."""
    offered: list[page.Download] = []
    finish = page.Header.finish

    def kept(self, downloads=()) -> None:
        offered[:] = downloads
        finish(self, downloads)

    monkeypatch.setattr(page.Header, "finish", kept)

    def visit(name: str, **query: str) -> Seen:
        offered.clear()
        app = open_view(f"views/{name}/page.py", crowd, **query)
        assert not app.exception
        protos = [element.proto for element in elements(app._tree)]
        frames = [element.value for kind in ("dataframe", "table") for element in app.get(kind)]
        specs = [json.loads(proto.spec) for proto in protos if getattr(proto, "spec", "")]
        specs += [json.loads(chart["figure"]) for chart in given_charts(app)]
        numbers = [*numbers_of(specs), *(number for frame in frames for number in numbers_of(frame.to_dict("list")))]
        said = [str(proto) for proto in protos] + [frame.to_csv() for frame in frames]
        assert not any("This view failed" in text for text in said)
        files = {item.file_name: contents(item) for item in offered}
        return Seen("\n".join(said), np.array(numbers), files)

    return visit


def numbers_of(value) -> Iterator[float]:
    """Every number in a chart or table, packed arrays too."""
    if isinstance(value, dict) and "bdata" in value:
        yield from np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).astype(float)
    elif isinstance(value, dict):
        for part in value.values():
            yield from numbers_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from numbers_of(part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def contents(item: page.Download) -> bytes:
    data = item.data() if callable(item.data) else item.data
    return data.encode() if isinstance(data, str) else data


def readable(name: str, data: bytes) -> str:
    """What stands in a file, as far as it is text."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            return "\n".join([*file.namelist(), *(file.read(one).decode("latin-1") for one in file.namelist())])
    return data.decode("latin-1")


def of_single_scans(crowd: Path) -> np.ndarray:
    """Values of single scans that no page may send: answers, and shares of regions in percent."""
    values = []
    for folder in crowd.iterdir():
        if folder.name.startswith("."):
            continue
        run = open_run(crowd, folder.name)
        answers, regions = run.table("predictions"), run.table("region_relevance")
        merged = run.table("regions").set_index("region")[["merged", "in_atlas"]]
        sums = regions.join(merged, on="region").groupby(
            ["model", "method", "target", "scan", "merged", "in_atlas"], as_index=False
        )["sum"].sum()  # fmt: skip
        every = sums.groupby(["model", "method", "target", "scan"])["sum"].transform("sum")
        atlas = sums[sums.in_atlas].groupby(["model", "method", "target", "scan"])["sum"].transform("sum")
        values += [answers.probability, answers.margin, regions["sum"], sums["sum"], sums["sum"] / every]
        values += [sums["sum"][sums.in_atlas] / atlas]
        distances = run.table("scan_distances")
        values += [distances.distance, distances.rank_correlation]
    found = np.unique(np.abs(np.concatenate(values)))
    return found[(found > 1e-3) & (np.abs(found - np.round(found, 2)) > 1e-6)]


@pytest.mark.parametrize(("name", "query"), VISITS)
def test_nobody_is_named_and_no_value_of_a_scan_is_sent(seen, crowd, name, query):
    found = seen(name, **query)
    assert NAME not in found.text.lower()
    private = of_single_scans(crowd)
    assert len(private) > 100
    sent = np.abs(found.numbers[np.isfinite(found.numbers)])
    for factor in (1, 100):
        near = np.isclose(sent[:, None], factor * private[None], rtol=1e-7, atol=0).any(axis=1)
        assert not near.any(), sent[near][:5]
    for file, data in found.files.items():
        assert NAME not in readable(file, data).lower(), file


def test_the_same_pages_name_people_to_those_who_hold_the_role(seen, monkeypatch, crowd):
    monkeypatch.setattr(access, "may_see_patients", lambda: True)
    assert NAME in seen("patient").text.lower()
    assert NAME in seen("overview").text.lower()
    found = seen("regions", r_part="region")
    private = of_single_scans(crowd)
    sent = np.abs(found.numbers[np.isfinite(found.numbers)])
    assert any(np.isclose(sent[:, None], f * private[None], rtol=1e-7, atol=0).any() for f in (1, 100))


@pytest.mark.parametrize("name", ["group_maps", "regions", "clinical", "distances"])
def test_there_are_no_filters_and_what_a_link_says_of_them_is_not_done(seen, name):
    plain, filtered = seen(name, set="folds"), seen(name, **{"set": "folds", "sex": "F", "age": "71~72", "ok": "wrong"})
    for label in ("Sex", "Decision", "Age, years", "Session", "Subjects", "Diagnosis"):
        assert f'label: "{label}"' not in plain.text
    assert "filters are for readers who may see single patients" in filtered.text
    assert "71~72" not in filtered.text
    assert plain.files.keys() == filtered.files.keys()
    for file, data in plain.files.items():
        if file.endswith(".csv"):
            assert data == filtered.files[file]
        if file.endswith(".nii.gz"):
            one, other = (
                nib.Nifti1Image.from_bytes(gzip.decompress(d)).get_fdata() for d in (data, filtered.files[file])
            )
            np.testing.assert_array_equal(one, other)


def test_evidence_for_the_predicted_group_is_not_beside_that_for_a_group(seen):
    found = seen("group_maps", target="predicted")
    assert 'options: "AD"' in found.text
    assert 'options: "the predicted group"' not in found.text


def test_no_average_of_few_is_shown_or_given(seen):
    found = seen("group_maps", dx="MCI")
    assert "MCI" not in "".join(found.files)
    assert "n = 3 subjects" not in found.text
    assert len([name for name in found.files if name.endswith(".nii.gz")]) == 2 * 3


def test_the_viewer_of_groups_is_given_what_the_slices_show_and_nothing_else(seen, crowd, monkeypatch):
    scenes: list[viewer.Scene] = []
    real = viewer.show
    monkeypatch.setattr(viewer, "show", lambda scene, **options: (scenes.append(scene), real(scene, **options))[1])
    seen("group_maps", g_as="viewer", sex="F", age="71~72", ok="wrong", dx="MCI", g_scale="probability", g_by="sex")
    (scene,) = scenes
    assert [one.title for one in scene.maps] == ["AD", "NC", "AD − NC"]
    run = open_run(crowd, list_runs(crowd)[0].run)
    method = next(iter(METHODS))
    scale, statistic, _ = data_runs.average_of(run, method)
    key = GroupKey("holdout", method, "AD", scale)
    wanted = {d: getattr(run.group_map(key, diagnosis=(d,)), statistic) for d in ("AD", "NC")}
    wanted["AD − NC"] = wanted["AD"] - wanted["NC"]
    factor = percent_per_cm3(run.affine()) if scale == "relative" else 1.0
    for one in scene.maps:
        found = fetched(one.volume)
        values, exact = found[np.isfinite(found)], factor * wanted[one.title][run.mask]
        np.testing.assert_allclose(values, exact, atol=2e-3 * np.abs(exact).max())
        assert np.abs(values).max() > 0


def test_no_average_of_chosen_scans_gets_an_address_without_the_role(crowd, monkeypatch, fresh_dashboard):
    info = list_runs(crowd)[0]
    run = data_runs.Run(str(crowd), info.run, info.created)
    selection = Selection(run, "holdout", next(iter(METHODS)), "AD")

    def average(scale=None, target="AD", **whom) -> Average:
        return Average(
            selection.of(target=target, scan_filter=ScanFilter(**{"diagnosis": ("AD",)} | whom)), "size", scale
        )

    hidden = {
        "women": average(sex=("F",)), "wrong": average(correct=False), "one": average(subject=(f"{NAME}-AD0",)),
        "few": average(diagnosis=("MCI",)), "all, and so the few": average(diagnosis=None),
        "another scale": average("margin"), "evidence for the predicted group": average(target="predicted"),
    }  # fmt: skip

    def scene(one: Average) -> viewer.Scene:
        picture = viewer.GroupPicture("A", "n = 1 subject", (one,), (1.0,), "u", "#000000", True)
        return viewer.group_scene(data_runs.opened(run), run, [picture], "")

    assert scene(average()).maps[0].title == "A"
    for why, one in hidden.items():
        assert not public.may_see_average(one), why
        with pytest.raises(NotInRunError, match="may see single patients"):
            scene(one)
    monkeypatch.setattr(access, "may_see_patients", lambda: True)
    monkeypatch.setattr(access, "reader", lambda headers, cookies: "who holds the role")
    given = {why: scene(one).maps[0].volume.url for why, one in hidden.items()}
    assert {get(url)[0] for url in given.values()} == {200}
    for nobody in ("", "somebody else"):
        monkeypatch.setattr(access, "reader", lambda headers, cookies, reader=nobody: reader)
        assert {get(url)[0] for url in given.values()} == {403}


def test_nothing_of_one_person_gets_an_address_for_those_who_are_not_signed_in(crowd, fresh_dashboard):
    info = list_runs(crowd)[0]
    run = data_runs.Run(str(crowd), info.run, info.created)
    reader = data_runs.opened(run)
    maps = reader.table("heatmaps")
    scene = viewer.patient_volumes(reader, run, maps.model[0], maps.scan[0], list(METHODS)[:2], "AD")
    own = [one.volume for one in scene.maps] + ([scene.scan] if scene.scan else [])
    assert {get(one.url)[0] for one in own} == {403}
    assert get(scene.anatomy.url)[0] == 200


@pytest.mark.parametrize("name", ["overview", "compare_runs"])
def test_numbers_of_few_are_not_said(seen, name):
    found = seen(name)
    assert "fewer than 5 MCI" in found.text
    assert "26 subjects" not in found.text
    assert "3 MCI" not in found.text


def test_the_smallest_group_is_the_same_in_pages_and_in_stores_for_others(monkeypatch):
    options = store_command._parser().parse_args(["derive", "results", "--group-level", "out"])
    assert access.fewest() == Hosting("results").fewest == options.fewest == FEWEST
    monkeypatch.setattr(hosting, "_current", [Hosting("results", fewest=12)])
    assert access.fewest() == 12
    assert access.few() == "fewer than 12"


@pytest.mark.parametrize(("given", "code"), [("4", 2), ("0", 2)])
def test_a_server_shows_no_smaller_groups_than_a_store_for_others(capsys, given, code):
    assert serve_command.main(["serve", "--store", "results", "--fewest", given]) == code
    assert f"--fewest {given}: write 5 or more" in capsys.readouterr().err


def test_a_group_of_several_diagnoses_is_hidden_with_its_smallest(crowd, monkeypatch, fresh_dashboard):
    """Its average less that of the large diagnosis alone, which is shown elsewhere, would be that of the few."""
    monkeypatch.setattr(access, "may_see_patients", lambda run=None: False)
    info = list_runs(crowd)[0]
    run = data_runs.Run(str(crowd), info.run, info.created)
    columns = {"AD": ("AD",), "ill": ("AD", "MCI"), "both": ("AD", "NC")}
    assert set(public.groups(run, "folds", columns)) == {"AD", "both"}


def test_a_lone_small_bin_of_the_calibration_does_not_follow_from_the_others(monkeypatch, crowd, fresh_dashboard):
    info = list_runs(crowd)[0]
    run = data_runs.Run(str(crowd), info.run, info.created)
    bins = pd.DataFrame({"x": [0.1, 0.5, 0.9], "y": [0.0, 0.5, 1.0], "scans": [3, 8, 13]})
    monkeypatch.setattr(overview_charts.judged, "calibration", lambda curves, model_set: bins)
    seen = []
    monkeypatch.setattr(
        overview_charts.charts, "calibration", lambda table, positive: seen.append(table.scans.tolist())
    )
    overview_charts.networks(run, links=False)
    overview_charts.networks(run, links=True)
    assert seen == [[13], [3, 8, 13]]


def test_one_region_is_shown_as_mean_and_spread(seen):
    found = seen("regions", r_part="region", target="AD")
    assert "mean ± SD" in found.text
    assert "median" not in found.text
    assert not found.files


def test_where_every_group_is_small_there_are_words(open_view):
    for name in ("group_maps", "regions", "clinical", "distances"):
        app = open_view(f"views/{name}/page.py")
        assert not app.exception
        assert "fewer than 5 subjects" in " ".join(info.value for info in app.info), name


def test_reasons_say_what_happened_and_name_nothing(crowd):
    table = pd.DataFrame({"reason": list(REASONS)})
    for text, given in zip(REASONS.values(), public.exclusions(table, ["qzxjv-smith", "qzxjv"]).reason, strict=True):
        assert NAME not in given
        assert "812" not in given
        assert text is None or given == text


def test_a_reason_of_one_plain_word_that_is_a_name_is_hidden():
    table = pd.DataFrame({"reason": ["smith is not in participants.tsv", "no DX"]})
    assert public.exclusions(table, ["smith"]).reason.tolist() == ["… is not in …", "no …"]


def test_the_cohort_table_gives_no_number_of_few_and_no_value_of_one():
    scans = pd.DataFrame({
        "scan": [str(i) for i in range(40)], "subject": [str(i) for i in range(40)], "role": "cohort",
        "diagnosis": ["AD"] * 25 + ["NC"] * 12 + ["MCI"] * 3, "sex": ["F"] * 13 + ["M"] * 27, "mmse": 25.0,
        "age": np.linspace(60, 93.6, 40), "holdout": [True] * 4 + [False] * 36,
    })  # fmt: skip
    table = cohort_table(scans, ["AD", "NC"], 10).set_index("Group")
    assert table.loc["AD", "Women"].startswith("13 ")
    assert table.loc["NC", "Women"] == "0 (0 %)" or table.loc["NC", "Women"] == "–"
    assert table.loc["AD", "In the test set"] == "fewer than 10"
    assert "(" not in table.loc["AD", "Age, mean ± SD (range)"]
    assert table.loc["MCI", "Subjects"] == "fewer than 10"
    assert "3" not in "".join(table.loc["MCI"])
    assert "(60 to" in cohort_table(scans, ["AD", "NC"]).set_index("Group").loc["AD", "Age, mean ± SD (range)"]


def test_the_report_of_the_cohort_gives_no_number_of_few(crowd):
    run = open_run(crowd, next(f.name for f in crowd.iterdir() if f.name.startswith("one")))
    few, all_of_it = (
        " ".join(
            text.get_text()
            for one in cohort.cohort_pages(run, "folds", "AD", None, fewest)
            for text in one.figure.findobj(lambda artist: hasattr(artist, "get_text"))
        )
        for fewest in (10, 0)
    )
    for words in ("Confusion", "26 subjects"):
        assert words in all_of_it
        assert words not in few
    assert "fewer than 10" in few


def test_means_of_a_region_hold_no_value_of_a_scan():
    table = pd.DataFrame({"diagnosis": ["AD"] * 11 + ["NC"] * 11, "value": np.random.default_rng(0).random(22)})
    chart = charts.means(table, ["AD", "NC"], ["AD", "NC"], axis="share", factor=1).plotly()
    numbers = list(numbers_of(json.loads(chart.to_json())))
    assert not np.isin(np.round(table.value, 9), np.round(numbers, 9)).any()
    assert one_region.spread_words(regions_tables.spread(table.assign(scan=range(22), subject=range(22)), ["AD"]), 1,
                                   "%", quartiles=False)[0].startswith("**AD** mean ± SD")  # fmt: skip


def test_filters_need_the_role():
    assert set(sidebar.FILTER_KEYS.values()) <= set(CURIOUS) | {"sub"}
    assert data_runs.Run._fields == ("store", "run_id", "created", "persons")
