"""Licences: what the labels of a release are under, whom they owe what, and the texts that say so.

The legal text of a licence is long and belongs to who keeps it: files here have its name, its SPDX id and its address,
and what every such licence asks for: who made what, and what was changed.
"""

from __future__ import annotations

from typing import NamedTuple

from pseudolabel.errors import InputError, nearest
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.texts import count_of, source_name, wrapped


class Licence(NamedTuple):
    """A licence for labels: its name and address, and what the Hugging Face hub calls it."""

    name: str
    url: str
    hub_id: str
    attribution: bool = True  # it asks to name who made the work
    commercial: bool = True


class Source(NamedTuple):
    """A data set that labels come from: who made it, the licence of its labels (SPDX id), where it is."""

    creators: str
    licence: str
    url: str


COMMONS = "https://creativecommons.org"
LICENCES = {  # by SPDX id
    "CC-BY-4.0": Licence("Creative Commons Attribution 4.0 International", f"{COMMONS}/licenses/by/4.0/", "cc-by-4.0"),
    "CC-BY-3.0": Licence("Creative Commons Attribution 3.0 Unported", f"{COMMONS}/licenses/by/3.0/", "cc-by-3.0"),
    "CC-BY-SA-4.0": Licence(
        "Creative Commons Attribution Share Alike 4.0 International", f"{COMMONS}/licenses/by-sa/4.0/", "cc-by-sa-4.0"
    ),
    "CC-BY-NC-4.0": Licence(
        "Creative Commons Attribution Non Commercial 4.0 International",
        f"{COMMONS}/licenses/by-nc/4.0/",
        "cc-by-nc-4.0",
        commercial=False,
    ),
    "CC-BY-NC-3.0": Licence(
        "Creative Commons Attribution Non Commercial 3.0 Unported",
        f"{COMMONS}/licenses/by-nc/3.0/",
        "cc-by-nc-3.0",
        commercial=False,
    ),
    "CC-BY-NC-SA-4.0": Licence(
        "Creative Commons Attribution Non Commercial Share Alike 4.0 International",
        f"{COMMONS}/licenses/by-nc-sa/4.0/",
        "cc-by-nc-sa-4.0",
        commercial=False,
    ),
    "CC0-1.0": Licence(
        "Creative Commons Zero 1.0 Universal", f"{COMMONS}/publicdomain/zero/1.0/", "cc0-1.0", attribution=False
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
ONTOLOGY_URL = "https://github.com/audioset/ontology"


def licence_of(spdx_id: str) -> Licence:
    """Return the licence of an SPDX id.

    Raises:
        InputError: none that labels are commonly under.
    """
    if spdx_id not in LICENCES:
        like = nearest(spdx_id, LICENCES)
        meant = f"; nearest: {like!r}" if like else ""
        message = f"licence {spdx_id!r} is not a known SPDX id{meant}"
        raise InputError(message, "--licence", f"Give one of {', '.join(LICENCES)}.")
    return LICENCES[spdx_id]


def usual_licence(source: str) -> str:
    """Return the SPDX id that labels derived from a source can be under without taking back what it reserves."""
    reserved = source in SOURCES and not LICENCES[SOURCES[source].licence].commercial
    return "CC-BY-NC-4.0" if reserved else "CC-BY-4.0"


def source_terms(facts: Facts) -> str:
    """Return one sentence on the licence of the labels that were there before, or ""."""
    if facts.source not in SOURCES:
        return ""
    source = SOURCES[facts.source]
    licence = LICENCES[source.licence]
    text = f"The labels of {facts.source} are by {source.creators}, {source.url}, under the terms of {licence.name}."
    if not licence.commercial and licence_of(facts.licence).commercial:
        text += f" What comes from {facts.source} may not be used commercially, whatever the added labels are under."
    return text


def licence_text(facts: Facts) -> str:
    """Return the file LICENSE: what the labels are under, whom to name, and what was changed.

    Raises:
        InputError: `facts.licence` is not a known SPDX id.
    """
    licence = licence_of(facts.licence)
    by = f" by {'; '.join(facts.authors)}" if facts.authors else ""
    paragraphs = [
        f"{facts.title}, version {facts.version}{by}",
        "The label lists, the ledger of added labels and all further files of this folder are under the terms of "
        f"{licence.name}, except for what LICENSE-ontology names. The text at the address below is what counts; "
        "this file changes nothing in it.",
        f"SPDX-License-Identifier: {facts.licence}\n{licence.url}",
    ]
    if licence.attribution:
        address = f", {facts.url}" if facts.url else ""
        named = f" and {facts.source}" if facts.source in SOURCES else ""
        paragraphs.append(
            f"Who passes these labels on, changed or not, names this release ({facts.name}, version "
            f"{facts.version}{address}){named}, gives the address of the licence, and says what was changed. "
            "CITATION.cff has the names in a form to cite."
        )
    paragraphs.append(source_terms(facts))
    n_before, n_added = facts.counts["labels_before"], facts.counts["added"]["labels_added"]
    paragraphs += [
        f"What was changed: {count_of(n_added, 'label')} added to the {count_of(n_before, 'label')} of "
        f"{source_name(facts)}; none removed or altered. added_labels.csv.gz lists every one of them, and "
        "original_labels.csv.gz is the list as it was before.",
        "There are no recordings in this folder. Each is under its own licence, which this file says nothing about.",
        "The labels come as they are, without warranties of any kind.",
    ]
    return "\n\n".join(wrapped(paragraph) for paragraph in paragraphs if paragraph) + "\n"


def ontology_licence_text() -> str:
    """Return the file LICENSE-ontology: the AudioSet ontology's attribution and what was changed in it."""
    licence = LICENCES["CC-BY-SA-4.0"]
    paragraphs = (
        "AudioSet ontology",
        "Ids and names of classes, and relations between classes that decided which labels could be added, are under "
        f"the terms of {licence.name} where they come from the AudioSet ontology by Google.",
        f"SPDX-License-Identifier: CC-BY-SA-4.0\n{licence.url}\n{ONTOLOGY_URL}",
        "Who passes these parts on, changed or not, names the AudioSet ontology and Google, gives the address of the "
        "licence, says what was changed, and passes them on under the same licence.",
        "What was changed: ids, names and relations were kept, as tables; descriptions, examples and links were left "
        "out. The column `because` of the ledger names the labels that are parents, ancestors, children or "
        "descendants of an added one.",
        "The list of the 527 classes of AudioSet (class_labels_indices.csv) is by Google too, under the terms of "
        f"{LICENCES['CC-BY-4.0'].name}.\n{LICENCES['CC-BY-4.0'].url}",
        "The names stand here for attribution; Google does not endorse this release.",
    )
    return "\n\n".join(wrapped(paragraph) for paragraph in paragraphs) + "\n"
