"""Credit and licences of a release: LICENSE texts, CITATION.cff (Citation File Format 1.2.0), BibTeX, cited works.

The full legal text of a licence stays with its publisher. The files here give its name, SPDX id and address, and what
every such licence requires: who made what, and what was changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml

from pseudolabel import layout
from pseudolabel.errors import InputError, nearest
from pseudolabel.formatting import plural
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.texts import wrapped, yaml_text
from pseudolabel.templates import render

PACKAGE = "pseudolabel.releases"
KEYWORDS = ["audio tagging", "sound event recognition", "missing labels", "weak labels"]


class Licence(NamedTuple):
    """A licence for labels: name, address, and id on the Hugging Face hub."""

    name: str
    url: str
    hub_id: str
    attribution: bool = True  # whether it requires naming the authors
    commercial: bool = True


class Source(NamedTuple):
    """A data set that labels come from: its authors, address, and the licence of its labels (SPDX id)."""

    creators: str
    licence: str
    url: str


CC, CC_URL = "Creative Commons Attribution", "https://creativecommons.org/licenses"
LICENCES = {  # by SPDX id
    "CC-BY-4.0": Licence(f"{CC} 4.0 International", f"{CC_URL}/by/4.0/", "cc-by-4.0"),
    "CC-BY-3.0": Licence(f"{CC} 3.0 Unported", f"{CC_URL}/by/3.0/", "cc-by-3.0"),
    "CC-BY-SA-4.0": Licence(f"{CC} Share Alike 4.0 International", f"{CC_URL}/by-sa/4.0/", "cc-by-sa-4.0"),
    "CC-BY-NC-4.0": Licence(
        f"{CC} Non Commercial 4.0 International", f"{CC_URL}/by-nc/4.0/", "cc-by-nc-4.0", commercial=False
    ),
    "CC-BY-NC-3.0": Licence(
        f"{CC} Non Commercial 3.0 Unported", f"{CC_URL}/by-nc/3.0/", "cc-by-nc-3.0", commercial=False
    ),
    "CC-BY-NC-SA-4.0": Licence(
        f"{CC} Non Commercial Share Alike 4.0 International",
        f"{CC_URL}/by-nc-sa/4.0/",
        "cc-by-nc-sa-4.0",
        commercial=False,
    ),
    "CC0-1.0": Licence(
        "Creative Commons Zero 1.0 Universal",
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "cc0-1.0",
        attribution=False,
    ),
    "CDLA-Permissive-2.0": Licence(
        "Community Data License Agreement Permissive 2.0",
        "https://cdla.dev/permissive-2-0/",
        "cdla-permissive-2.0",
        attribution=False,
    ),
    "ODC-By-1.0": Licence(
        "Open Data Commons Attribution License 1.0", "https://opendatacommons.org/licenses/by/1-0/", "odc-by"
    ),
    "ODbL-1.0": Licence(
        "Open Data Commons Open Database License 1.0", "https://opendatacommons.org/licenses/odbl/1-0/", "odbl"
    ),
    "MIT": Licence("MIT License", "https://opensource.org/license/mit", "mit"),
    "Apache-2.0": Licence("Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0", "apache-2.0"),
}
SOURCES = {
    "AudioSet": Source(
        "Google (J. F. Gemmeke, D. P. W. Ellis, D. Freedman, A. Jansen, W. Lawrence, R. C. Moore, M. Plakal and "
        "M. Ritter)",
        "CC-BY-4.0",
        "https://research.google.com/audioset/",
    ),
    "FSD50K": Source(
        "Music Technology Group, Universitat Pompeu Fabra (E. Fonseca, X. Favory, J. Pons, F. Font, X. Serra)",
        "CC-BY-4.0",
        "https://zenodo.org/records/4060432",
    ),
    "ESC-50": Source("K. J. Piczak", "CC-BY-NC-3.0", "https://github.com/karolpiczak/ESC-50"),
}


def licence_of(spdx_id: str) -> Licence:
    """Return the licence with an SPDX id.

    Raises:
        InputError: labels are not commonly published under it.
    """
    if spdx_id not in LICENCES:
        like = nearest(spdx_id, LICENCES)
        meant = f"; nearest: {like!r}" if like else ""
        message = f"licence {spdx_id!r} is not a known SPDX id{meant}"
        raise InputError(message, "--licence", f"Give one of {', '.join(LICENCES)}.")
    return LICENCES[spdx_id]


def usual_licence(source: str) -> str:
    """Return the SPDX id of a licence for labels from a source that grants nothing the source reserves."""
    reserved = source in SOURCES and not LICENCES[SOURCES[source].licence].commercial
    return "CC-BY-NC-4.0" if reserved else "CC-BY-4.0"


def assumed_licence(given: str | None, stated: str) -> list[str]:
    """Return the line that says which licence was taken because the user named none."""
    return [] if given else [f"licence {stated} is assumed: --licence sets another"]


def source_terms(facts: Facts) -> str:
    """Return one sentence on the licence of the original labels, or ""."""
    if facts.source not in SOURCES:
        return ""
    source = SOURCES[facts.source]
    licence = LICENCES[source.licence]
    text = f"The labels of {facts.source} are by {source.creators}, {source.url}, under the terms of {licence.name}."
    if not licence.commercial and licence_of(facts.licence).commercial:
        text += f" What comes from {facts.source} may not be used commercially, whatever the added labels are under."
    return text


def licence_text(facts: Facts) -> str:
    """Return the file LICENSE: the licence of the labels, whom to name, and what was changed.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    given = {"facts": facts, "licence": licence_of(facts.licence), "named": facts.source in SOURCES, "plural": plural}
    return wrapped(render(PACKAGE, "licence.txt.j2", source_terms=source_terms(facts), **given))


def ontology_licence_text() -> str:
    """Return the file LICENSE-ontology: attribution of the AudioSet ontology, and what was changed in it."""
    return wrapped(render(PACKAGE, "ontology_licence.txt.j2", licences=LICENCES))


def model_licence_text(record: Mapping) -> str:
    """Return the file LICENSE of a released model; `record` is its run.json."""
    return wrapped(render(PACKAGE, "model_licence.txt.j2", record=record, licence=licence_of(record["licence"])))


@cache
def works() -> dict[str, dict]:
    """Return the works that releases cite, as entries of CITATION.cff."""
    return yaml.safe_load(files(PACKAGE).joinpath("works.yaml").read_text(encoding="utf-8"))


def references(facts: Facts) -> list[dict]:
    """Return the works that a release cites: its source, the ontology, the rule, and those its other files need."""
    names = [facts.source] if facts.source in SOURCES else []
    names += ["AudioSet", "PSLA"]  # the class relations are AudioSet's, the error types PSLA's
    if facts.rule.evidence not in (None, "clip") or facts.file(layout.TARGETS) or facts.file("probabilities.h5"):
        names.append("PSL")
    if facts.file("sampling_weights.csv.gz"):
        names.append("balancing")
    return [works()[name] for name in dict.fromkeys(names)]


def abstract(facts: Facts) -> str:
    """Return a plain description of a release."""
    counts = facts.counts
    return (
        f"Labels of {plural(counts.clips, 'clip')} and {plural(counts.classes, 'class')}: "
        f"the {plural(counts.labels_before, 'label')} of {facts.original} and {counts.added.labels_added:,} that were "
        "found missing, each with the evidence for it. No label was removed; no recordings are included."
    )


def citation(facts: Facts) -> str:
    """Return the text of CITATION.cff.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    licence_of(facts.licence)
    text = {
        "cff-version": "1.2.0",
        "message": "If you use these labels, please cite them and the works that they build on.",
        "type": "dataset",
        "title": facts.title,
        "abstract": abstract(facts),
        "version": facts.version,
        "date-released": facts.released,
        "license": facts.licence,
        "url": facts.url,
        "authors": [_agent(name) for name in facts.makers],
        "keywords": KEYWORDS,
        "references": references(facts),
    }
    return yaml_text(text)


def model_citation(record: Mapping) -> str:
    """Return the text of CITATION.cff of a released model; `record` is its run.json."""
    text = {
        "cff-version": "1.2.0",
        "message": "If you use this model, please cite it and the works that it builds on.",
        "type": "software",
        "title": record["title"],
        "version": record["version"],
        "date-released": record["released"],
        "license": record["licence"],
        "url": record["url"],
        "authors": [_agent(name) for name in record["authors"] or ["The makers of this model"]],
        "keywords": KEYWORDS,
        "references": [works()["PSL" if record["soft_targets"] else "PSLA"]],
    }
    return yaml_text(text)


def bibtex(facts: Facts) -> str:
    """Return the release as a BibTeX entry."""
    makers = [_bibtex_text(name) if is_person(name) else f"{{{_bibtex_text(name)}}}" for name in facts.makers]
    entries = {
        "title": f"{{{_bibtex_text(facts.title)}}}",
        "author": " and ".join(makers),
        "year": facts.released[:4],
        "version": facts.version,
        "url": facts.url,
    }
    key = re.sub(r"[^A-Za-z0-9]+", "_", facts.name)
    lines = [f"  {name} = {{{value}}}," for name, value in entries.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


def work_text(work: Mapping) -> str:
    """Return a work as one line of plain text: authors, title, venue, year."""
    authors = [f"{author['family-names']}, {author['given-names']}" for author in work["authors"]]
    named = "; ".join([*authors[:3], *(["et al."] if len(authors) > 3 else [])])
    published = work["journal"] if "journal" in work else work["conference"]["name"]
    return f"{named}: {work['title']}. {published}, {work['year']}"


def address_of(work: Mapping) -> str:
    """Return a work's address."""
    return f"https://doi.org/{work['doi']}" if "doi" in work else work["url"]


def is_person(name: str) -> bool:
    """Return whether an author is a person, written `Family, Given`; the others are groups."""
    family, comma, given = name.partition(",")
    return bool(comma and family.strip() and given.strip())


def _agent(name: str) -> dict:
    if not is_person(name):
        return {"name": name}
    family, _, given = name.partition(",")
    return {"family-names": family.strip(), "given-names": given.strip()}


def _bibtex_text(text: str) -> str:
    text = text.replace("\\", r"\textbackslash ")
    text = re.sub(r"([&%$#_{}])", r"\\\1", text)
    return text.replace("~", r"\textasciitilde ").replace("^", r"\textasciicircum ")
