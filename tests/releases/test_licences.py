"""Licences of a release: the right name, who is owed what, and no unknown licence."""

from __future__ import annotations

import pytest

from pseudolabel.errors import InputError
from pseudolabel.releases.citation import (
    LICENCES,
    SOURCES,
    licence_of,
    licence_text,
    ontology_licence_text,
    source_terms,
    usual_licence,
)


def test_the_licence_says_what_whom_and_what_was_changed(make_facts):
    text = licence_text(make_facts(source="AudioSet", url="https://example.org/release"))
    flat = " ".join(text.split())
    assert "SPDX-License-Identifier: CC-BY-4.0\nhttps://creativecommons.org/licenses/by/4.0/" in text
    assert "names this release (small-enhanced-25p, version 1.0.0, https://example.org/release) and AudioSet" in flat
    assert "2 labels added to the 3 labels of AudioSet; none removed or altered" in flat
    assert "The labels of AudioSet are by Google" in flat
    assert "by Doe, Jane; A: Group" in flat
    assert text.endswith(".\n") and max(map(len, text.split("\n"))) <= 88


@pytest.mark.parametrize("spdx_id", LICENCES)
def test_every_known_licence_has_a_text_with_its_address(make_facts, spdx_id):
    text = licence_text(make_facts(licence=spdx_id))
    assert f"SPDX-License-Identifier: {spdx_id}\n{LICENCES[spdx_id].url}" in text
    assert ("Who passes these labels on" in text) == LICENCES[spdx_id].attribution


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
