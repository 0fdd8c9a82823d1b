"""How to cite a release: CITATION.cff (Citation File Format 1.2.0), BibTeX, and the works that it rests on."""

from __future__ import annotations

import re
from typing import NamedTuple

from pseudolabel.releases.facts import Facts
from pseudolabel.releases.licences import licence_of
from pseudolabel.releases.texts import author_names, count_of, source_name, yaml_text

PLAIN = re.compile(r"[^A-Za-z0-9]+")


class Work(NamedTuple):
    """A publication: `journal` for articles, else `conference`; pages `first` to `last`; `url` where it has no DOI."""

    key: str
    authors: tuple[str, ...]  # Family, Given
    title: str
    year: int
    journal: str = ""
    volume: int | None = None
    conference: str = ""
    first: int | None = None
    last: int | None = None
    doi: str = ""
    url: str = ""


TASLP = "IEEE/ACM Transactions on Audio, Speech, and Language Processing"
ICASSP = "IEEE International Conference on Acoustics, Speech and Signal Processing (ICASSP)"
AUDIOSET = Work(
    "gemmeke2017audioset",
    ("Gemmeke, Jort F.", "Ellis, Daniel P. W.", "Freedman, Dylan", "Jansen, Aren", "Lawrence, Wade",
     "Moore, R. Channing", "Plakal, Manoj", "Ritter, Marvin"),
    "Audio Set: An ontology and human-labeled dataset for audio events",
    2017, conference=ICASSP, first=776, last=780, doi="10.1109/ICASSP.2017.7952261",
)  # fmt: skip
FSD50K = Work(
    "fonseca2022fsd50k",
    ("Fonseca, Eduardo", "Favory, Xavier", "Pons, Jordi", "Font, Frederic", "Serra, Xavier"),
    "FSD50K: An Open Dataset of Human-Labeled Sound Events",
    2022, journal=TASLP, volume=30, first=829, last=852, doi="10.1109/TASLP.2021.3133208",
)  # fmt: skip
ESC50 = Work(
    "piczak2015esc",
    ("Piczak, Karol J.",),
    "ESC: Dataset for Environmental Sound Classification",
    2015, conference="ACM International Conference on Multimedia", first=1015, last=1018,
    doi="10.1145/2733373.2806390",
)  # fmt: skip
PSLA = Work(
    "gong2021psla",
    ("Gong, Yuan", "Chung, Yu-An", "Glass, James"),
    "PSLA: Improving Audio Tagging with Pretraining, Sampling, Labeling, and Aggregation",
    2021, journal=TASLP, volume=29, first=3292, last=3306, doi="10.1109/TASLP.2021.3120633",
)  # fmt: skip
PSL = Work(
    "dinkel2022psl",
    ("Dinkel, Heinrich", "Yan, Zhiyong", "Wang, Yongqing", "Zhang, Junbo", "Wang, Yujun"),
    "Pseudo strong labels for large scale weakly supervised audio tagging",
    2022, conference=ICASSP, url="https://arxiv.org/abs/2204.13430",
)  # fmt: skip
MOORE = Work(
    "moore2023balancing",
    ("Moore, R. Channing", "Ellis, Daniel P. W.", "Fonseca, Eduardo", "Hershey, Shawn", "Jansen, Aren",
     "Plakal, Manoj"),
    "Dataset balancing can hurt model performance",
    2023, conference=ICASSP, url="https://arxiv.org/abs/2307.00079",
)  # fmt: skip
SOURCE_WORKS = {"AudioSet": AUDIOSET, "FSD50K": FSD50K, "ESC-50": ESC50}


def references(facts: Facts) -> tuple[Work, ...]:
    """Return the works that a release rests on: its source, the ontology, the rule, and what its further files need."""
    works = [SOURCE_WORKS[facts.source]] if facts.source in SOURCE_WORKS else []
    works += [AUDIOSET, PSLA]  # the relations between classes are AudioSet's, the error types PSLA's
    if facts.rule.get("evidence") not in (None, "clip") or facts.file("targets.h5"):
        works.append(PSL)
    if facts.file("sampling_weights.csv.gz"):
        works.append(MOORE)
    return tuple(dict.fromkeys(works))


def abstract(facts: Facts) -> str:
    """Return what a release is, in plain sentences."""
    counts = facts.counts
    n_added, n_before = counts["added"]["labels_added"], counts["labels_before"]
    return (
        f"Labels of {count_of(counts['clips'], 'clip')} and {count_of(counts['classes'], 'class')}: "
        f"the {count_of(n_before, 'label')} of {source_name(facts)} and {n_added:,} that were found missing, each with "
        "what spoke for it. No label was removed; there are no recordings."
    )


def citation(facts: Facts) -> str:
    """Return the text of CITATION.cff.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    licence_of(facts.licence)
    text = {
        "cff-version": "1.2.0",
        "message": "If you use these labels, please cite them and the works that they rest on.",
        "type": "dataset",
        "title": facts.title,
        "abstract": abstract(facts),
        "version": facts.version,
        "date-released": facts.released,
        "license": facts.licence,
        "url": facts.url,
        "authors": [_agent(name) for name in author_names(facts)],
        "keywords": ["audio tagging", "sound event recognition", "missing labels", "weak labels"],
        "references": [_reference(work) for work in references(facts)],
    }
    return yaml_text(text)


def bibtex(facts: Facts) -> str:
    """Return the release as a BibTeX entry."""
    entries = {
        "title": f"{{{_bibtex_text(facts.title)}}}",
        "author": " and ".join(
            _bibtex_text(name) if is_person(name) else f"{{{_bibtex_text(name)}}}" for name in author_names(facts)
        ),
        "year": facts.released[:4],
        "version": facts.version,
        "url": facts.url,
    }
    key = PLAIN.sub("_", facts.name)
    lines = [f"  {name} = {{{value}}}," for name, value in entries.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def work_text(work: Work) -> str:
    """Return a work as one line of plain text: authors, title, place, year; its address is `address_of(work)`."""
    authors = "; ".join(work.authors[:3]) + "; et al." * (len(work.authors) > 3)
    return f"{authors}: {work.title}. {work.journal or work.conference}, {work.year}"


def address_of(work: Work) -> str:
    """Return where a work is."""
    return f"https://doi.org/{work.doi}" if work.doi else work.url


def is_person(name: str) -> bool:
    """Return whether an author is a person, written `Family, Given`; others are groups."""
    family, comma, given = name.partition(",")
    return bool(comma and family.strip() and given.strip())


def _agent(name: str) -> dict:
    if not is_person(name):
        return {"name": name}
    family, _, given = name.partition(",")
    return {"family-names": family.strip(), "given-names": given.strip()}


def _reference(work: Work) -> dict:
    return {
        "type": "article" if work.journal else "conference-paper",
        "authors": [_agent(name) for name in work.authors],
        "title": work.title,
        "year": work.year,
        "journal": work.journal,
        "volume": work.volume,
        "conference": {"name": work.conference} if work.conference else None,
        "start": work.first,
        "end": work.last,
        "doi": work.doi,
        "url": work.url,
    }


def _bibtex_text(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    text = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return text.replace("~", r"\textasciitilde ").replace("^", r"\textasciicircum ")
