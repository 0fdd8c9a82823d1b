"""Who is owed what: CITATION.cff that parses and has what the format asks for, BibTeX, references, licences."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from pseudolabel.errors import InputError
from pseudolabel.releases.citation import (
    LICENCES,
    SOURCES,
    bibtex,
    citation,
    licence_of,
    licence_text,
    ontology_licence_text,
    references,
    source_terms,
    usual_licence,
    works,
)

TOP_KEYS = {"cff-version", "message", "type", "title", "abstract", "version", "date-released", "license", "url",
            "authors", "keywords", "references"}  # fmt: skip
REFERENCE_KEYS = {"type", "authors", "title", "year", "journal", "volume", "conference", "start", "end", "doi", "url"}


def test_citation_parses_and_keeps_every_text(make_facts):
    facts = make_facts(source="AudioSet", released="2026-01-31", url="https://example.org/a")
    found = yaml.safe_load(citation(facts))
    assert set(found) == TOP_KEYS
    assert (found["cff-version"], found["type"], found["title"]) == ("1.2.0", "dataset", facts.title)
    assert (found["version"], found["date-released"], found["license"]) == ("1.0.0", "2026-01-31", "CC-BY-4.0")
    assert found["authors"] == [{"family-names": "Doe", "given-names": "Jane"}, {"name": "A: Group"}]
    assert "the 3 labels of AudioSet and 2 that were found missing" in found["abstract"]


def test_references_have_what_the_format_asks_for(make_facts):
    found = yaml.safe_load(citation(make_facts(source="FSD50K")))["references"]
    for reference in found:
        assert {"type", "authors", "title"} <= set(reference) <= REFERENCE_KEYS
        assert reference["type"] in ("article", "conference-paper")
        assert ("journal" in reference) == (reference["type"] == "article") != ("conference" in reference)
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"]) if "doi" in reference else reference["url"]
        assert all({"family-names", "given-names"} == set(author) for author in reference["authors"])
    assert [reference["doi"] for reference in found[:2]] == [works()["FSD50K"]["doi"], works()["AudioSet"]["doi"]]


def test_a_release_without_authors_day_and_address_is_its_makers(make_facts):
    facts = make_facts(authors=())
    found = yaml.safe_load(citation(facts))
    assert found["authors"] == [{"name": "The makers of small-enhanced-25p"}]
    assert not {"date-released", "url"} & set(found)
    assert "year" not in bibtex(facts) and "{The makers of small-enhanced-25p}" in bibtex(facts)


def test_only_works_that_a_release_rests_on_are_cited(make_facts):
    facts = make_facts()
    windows = make_facts(rule=replace(facts.rule, evidence="2s"))
    weights = replace(facts.files[0], name="sampling_weights.csv.gz")

    def cited(of) -> list[str]:
        return [name for work in references(of) for name, known in works().items() if known is work]

    assert cited(facts) == cited(make_facts(source="AudioSet")) == ["AudioSet", "PSLA"]
    assert cited(make_facts(source="ESC-50")) == ["ESC-50", "AudioSet", "PSLA"]
    assert cited(windows) == ["AudioSet", "PSLA", "PSL"]
    assert cited(make_facts(files=(*facts.files, weights))) == ["AudioSet", "PSLA", "balancing"]


def test_bibtex_is_balanced_and_escaped(make_facts):
    entry = bibtex(make_facts(title="100 % {odd} & _so_ on #1", released="2026-01-31"))
    assert r"title = {{100 \% \{odd\} \& \_so\_ on \#1}}" in entry
    assert "author = {Doe, Jane and {A: Group}}" in entry and "year = {2026}" in entry
    assert entry.startswith("@misc{small_enhanced_25p,\n") and entry.endswith("\n}")
    bare = re.sub(r"\\[{}]", "", entry)
    assert bare.count("{") == bare.count("}")


def test_a_licence_that_the_format_does_not_know_is_refused(make_facts):
    with pytest.raises(InputError, match="not a known SPDX id"):
        citation(make_facts(licence="free"))


def test_the_licence_says_what_whom_and_what_was_changed(make_facts):
    text = licence_text(make_facts(source="AudioSet", url="https://example.org/release"))
    flat = " ".join(text.split())
    assert "SPDX-License-Identifier: CC-BY-4.0\nhttps://creativecommons.org/licenses/by/4.0/" in text
    assert "name this release (small-enhanced-25p, version 1.0.0, https://example.org/release) and AudioSet" in flat
    assert "2 labels added to the 3 labels of AudioSet; none removed or altered" in flat
    assert "The labels of AudioSet are by Google" in flat
    assert "by Doe, Jane; A: Group" in flat
    assert text.endswith(".\n") and max(map(len, text.split("\n"))) <= 88


@pytest.mark.parametrize("spdx_id", LICENCES)
def test_every_known_licence_has_a_text_with_its_address(make_facts, spdx_id):
    text = licence_text(make_facts(licence=spdx_id))
    assert f"SPDX-License-Identifier: {spdx_id}\n{LICENCES[spdx_id].url}" in text
    assert ("If you pass these labels on" in text) == LICENCES[spdx_id].attribution


def test_an_unknown_licence_is_named_with_the_nearest(make_facts):
    with pytest.raises(InputError, match=r"licence 'CC-BY-4' is not a known SPDX id; nearest: 'CC-BY-.*Give one of"):
        licence_text(make_facts(licence="CC-BY-4"))
    with pytest.raises(InputError, match="licence 'ours' is not a known SPDX id"):
        licence_of("ours")


def test_labels_of_a_source_that_reserves_commercial_use_keep_that(make_facts):
    assert usual_licence("ESC-50") == "CC-BY-NC-4.0"
    assert {usual_licence(source) for source in ("AudioSet", "FSD50K", "")} == {"CC-BY-4.0"}
    assert "may not be used commercially" in source_terms(make_facts(source="ESC-50"))
    assert "may not be used commercially" not in source_terms(make_facts(source="ESC-50", licence="CC-BY-NC-4.0"))
    assert source_terms(make_facts()) == ""
    assert all(source.licence in LICENCES for source in SOURCES.values())


def test_the_ontology_is_attributed_under_its_own_licence():
    text = ontology_licence_text()
    assert "SPDX-License-Identifier: CC-BY-SA-4.0\nhttps://creativecommons.org/licenses/by-sa/4.0/" in text
    assert "https://github.com/audioset/ontology" in text and "Google" in text
    assert "What was changed" in text
