"""Reads a BIDS dataset: participants.tsv, sessions.tsv, T1-weighted images, raw or as derivatives in MNI space.

Source: BIDS specification 1.10, bids-specification.readthedocs.io.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from engine.cohort.assemble import ReaderNotes, assemble
from engine.cohort.columns import frame_of, our_columns
from engine.cohort.readers.bids_tables import PARTICIPANTS, PERSON, SESSION, read_participants, with_sessions
from engine.cohort.scans import Cohort
from engine.cohort.tables import data_folder, table_file
from engine.cohort.values import zeros_lost
from engine.config.cohort_schema import BidsOptions, CohortConfig
from engine.errors import UserError

ENDINGS = ("_T1w.nii.gz", "_T1w.nii")
FIRST_RUN = "1"  # what a file without a run is
KINDS = ("ce", "acq", "rec")  # entities that say how an image was made
UNEVEN = 0.001  # p of Fisher's exact test


@dataclass(frozen=True)
class Image:
    """A T1-weighted image; its entities are the parts of its name, e.g. {"run": "2"}, subject and session aside."""

    path: Path
    subject: str
    session: str
    entities: dict[str, str]

    @property
    def name(self) -> str:
        return self.path.name.split(".")[0]

    @property
    def rank(self) -> tuple:
        """Return a sort key: without contrast agent first, then the first run, then the plainest name."""
        run = self.entities.get("run", FIRST_RUN)
        return "ce" in self.entities, int(run) if run.isdigit() else 0, len(self.entities), str(self.path)

    @property
    def is_part(self) -> bool:
        """Return whether the file is one of several that make an image: a phase, or a slab."""
        return self.entities.get("part", "mag") != "mag" or "chunk" in self.entities


def read(config: CohortConfig) -> Cohort:
    """Read the T1-weighted images of a dataset, one a session, with what the tables say of person and session.

    Raises:
        UserError: no participants.tsv, no image, a table or sidecar that cannot be read, see also `assemble`.
    """
    folder = data_folder(config)
    file = table_file(folder, config.table or PARTICIPANTS)
    people = read_participants(file, config)
    images = sorted(_images(folder, config.bids), key=lambda image: (image.subject, image.session, image.rank))
    space = config.bids.space
    what = f"T1w image in space {space}" if space else "T1w image of a scanner"
    if not images:
        raise UserError(f"--data {folder}: no {what} (sub-*/anat or sub-*/ses-*/anat, *{ENDINGS[0]}){_spaces(folder)}")
    persons = people.table.index
    chosen, left_out = _one_a_session(images, list(persons), file.name)
    seen = {image.subject for image in images}
    left_out += [_out(person, person, f"no {what}") for person in persons if person not in seen]
    if not chosen:
        first = next((row["reason"] for row in left_out if "there is" in row["reason"]), left_out[0]["reason"])
        raise UserError(f"{file.name}: none of its participants has a {what}; {first}")
    sessions = with_sessions(people, [(image.subject, image.session) for image in chosen], folder, file, config)
    left_out += [_out(chosen[i].name, chosen[i].subject, reason) for i, reason in sessions.unknown.items()]
    used = [image for i, image in enumerate(chosen) if i not in sessions.unknown]
    if not used:
        raise UserError(f"--data {folder}: no session is described; {next(iter(sessions.unknown.values()))}")
    table = sessions.rows.drop(index=list(sessions.unknown))
    names = our_columns(table, config, file, {"subject": PERSON, "session": SESSION})
    names = {ours: theirs for ours, theirs in names.items() if ours not in ("scan", "path")}
    remarks = [*people.remarks, *sessions.remarks]
    frame = frame_of(table, names, [image.path for image in used], file, remarks)
    notes = (
        f"{len(persons)} participants in {file.name}, sessions described for {sessions.tables}",
        f"{len(images)} x {what}, of {len(seen)} participants in {len(chosen)} sessions",
    )
    cohort = assemble(frame, config, folder, ReaderNotes(file.name, notes, left_out, "--data", remarks))
    return replace(cohort, warnings=(*cohort.warnings, *_kinds_of_images(cohort, used)))


def _images(folder: Path, options: BidsOptions) -> Iterator[Image]:
    for root in _roots(folder, options):
        for person in sorted(root.glob("sub-*")):
            for anat in (person / "anat", *sorted(person.glob("ses-*/anat"))):
                for path in sorted(anat.glob("sub-*_T1w.nii*")) if anat.is_dir() else ():
                    image = _image(path, person.name, anat.parent.name if anat.parent != person else "")
                    if path.name.endswith(ENDINGS) and image.entities.get("space") == options.space:
                        yield image


def _roots(folder: Path, options: BidsOptions) -> list[Path]:
    if options.derivatives:
        if not (folder / options.derivatives).is_dir():
            raise UserError(f"cohort.bids.derivatives {options.derivatives}: no such folder in {folder}")
        return [folder / options.derivatives]
    if options.space is None:
        return [folder]
    below = folder / "derivatives"
    return [folder, below, *sorted(p for p in below.glob("*") if p.is_dir() and not p.name.startswith("sub-"))]


def _image(path: Path, subject: str, session: str) -> Image:
    parts = dict(part.partition("-")[::2] for part in path.name.split(".")[0].split("_")[:-1])
    entities = {key: value for key, value in parts.items() if key not in ("sub", "ses")}
    return Image(path, subject, session, entities)


def _one_a_session(images: list[Image], people: list[str], table: str) -> tuple[list[Image], list[dict[str, str]]]:
    """Return the first usable image of each session, and why the others are left out."""
    chosen, left_out, listed = [], [], set(people)
    for (subject, session), group in groupby(images, key=lambda image: (image.subject, image.session)):
        prefix = f"{subject}_{session}_" if session else f"{subject}_"
        used: Image | None = None
        for image in group:
            if not image.path.name.startswith(prefix):
                reason = f"{image.path.name} lies in the folder of {prefix.strip('_')}; mend its name"
            elif subject not in listed:
                reason = f"{subject} is not in {table}{zeros_lost(subject, people)}"
            elif image.is_part:
                reason = f"{image.path.name} is a part of an image (part, chunk), not the image"
            elif used:
                reason = f"another image of the session is used: {used.path.name}"
            else:
                used = image
                chosen.append(image)
                continue
            left_out.append(_out(image.name, subject, reason))
    return chosen, left_out


def _kinds_of_images(cohort: Cohort, used: list[Image]) -> list[str]:
    """Name kinds of images that are more common in one group: networks can tell the groups by them."""
    from scipy.stats import fisher_exact  # noqa: PLC0415

    scans = cohort.scans[cohort.scans["role"] == "cohort"].set_index("path")["group"]
    grouped = [(image, scans[str(image.path)]) for image in used if str(image.path) in scans.index]
    lines = []
    contrast = sum("ce" in image.entities for image, _ in grouped)
    if contrast:
        lines.append(f"{contrast} of {len(grouped)} images are with contrast agent (ce-), where there is no other")
    sizes = Counter(group for _, group in grouped)
    kinds = Counter(
        (f"{key}-{image.entities[key]}", group) for image, group in grouped for key in KINDS if key in image.entities
    )
    for kind in dict.fromkeys(kind for kind, _ in kinds):
        counts = [(kinds[kind, group], sizes[group], group) for group in cohort.groups]
        (a, of_a, _), (b, of_b, _) = counts
        alone = kind.startswith("ce-") and min(a, b) == 0 < min(of_a, of_b)
        if alone or fisher_exact([[a, b], [of_a - a, of_b - b]]).pvalue < UNEVEN:
            shares = ", ".join(f"{n} of {size} {group}" for n, size, group in counts)
            lines.append(f"images {kind}: {shares}; networks can tell the groups by the kind of image")
    return lines


def _out(scan: str, subject: str, reason: str) -> dict[str, str]:
    return {"scan": scan, "subject": subject, "reason": reason}


def _spaces(folder: Path) -> str:
    """List in which other spaces images lie, for a message."""
    roots = _roots(folder, BidsOptions(space=""))
    files = [path for root in roots for path in root.glob("sub-*/**/*_space-*_T1w.nii*")]
    spaces = sorted({_image(path, "", "").entities["space"] for path in files})
    return f"; there are images in space {', '.join(spaces)}: see cohort.bids.space" if spaces else ""
