"""The statement on one page: what was measured, what was not, and how to check it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings

from delivery.reporting.statement import statement_html
from delivery.reporting.usage import TenantUsage
from delivery.wording import LANGUAGES
from tests.unit.delivery.reporting.month import BRAND, END, month
from tests.unit.delivery.reporting.reports import tenants
from tests.unit.delivery.reporting.test_html import parsed, text

HOW = "pbx-meter verify records.jws --key key.json"


def page(usage: TenantUsage, language: str = "en") -> str:
    html = statement_html(usage, period="2026-11", language=language, brand=BRAND, made_at=END)
    return text(parsed(html))


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_names_the_record_the_key_and_how_to_check(language):
    """In every language stand the definition, the record's id and hash, the key's thumbprint and the command."""
    usage = month().tenants[0]
    said = page(usage, language)

    assert usage.proof is not None
    assert all(
        each in said for each in (usage.proof.record, usage.proof.sha256, usage.proof.kid, HOW, "pbx-meter/1")
    )


def test_it_says_the_peak_and_how_long_in_words():
    """When the peak was, how long, how far over and how often are sentences."""
    said = page(month().tenants[0])

    assert "17 lines, on Thursday 12 November 2026 at 10:32:08 (CET), for 9 seconds" in said
    assert "3 times, 1 minute and 42 seconds in all" in said
    assert "49 at the end, 51 at most" in said
    assert "Revision 1" in said


def test_what_was_not_seen_is_said():
    """Gaps stand by their length and cause; a missing month says that it is not zero, and claims no record."""
    assert "for 1 day and 9 hours (the PBX could not be reached)" in page(month().tenants[1])
    missing = page(month().tenants[7])
    assert "What is not known is not zero." in missing
    assert "No signed record of this period has been received." in missing
    assert HOW not in missing


def test_a_peak_of_nothing_and_no_peak_differ():
    """A month with nothing up says 0; a month in which nothing was seen says so."""
    usage = month().tenants[3]
    assert usage.peak is not None
    zero = dataclasses.replace(usage.peak, level=0, at=None, ms=None, source=None)

    assert "0 lines" in page(dataclasses.replace(usage, peak=zero))
    assert "Nothing was observed, so no peak is known." in page(dataclasses.replace(usage, peak=None))


@given(tenants)
@settings(max_examples=25, deadline=None)
def test_any_tenant_has_a_statement(usage: TenantUsage):
    """Whatever is known or not known of a tenant, its statement is sound and has its name."""
    assert " ".join(usage.name.split()) in page(usage, "de")
