"""The report as a document: nothing is lost, nothing is read that is not there."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given, settings

from delivery.reporting import document
from delivery.reporting.document import Unreadable
from delivery.reporting.usage import Report
from tests.unit.delivery.reporting.reports import reports


@given(reports)
@settings(deadline=None)
def test_it_comes_back_as_it_was(report):
    """Whatever a report says, its document says the same, in the same bytes every time."""
    written = document.written(report)

    assert document.read(written) == report
    assert document.written(document.read(written)) == written


@given(reports)
@settings(max_examples=10, deadline=None)
def test_fields_of_a_later_version_are_ignored(report):
    """A field that this version does not know is ignored; one that it may miss has its default."""
    value = json.loads(document.written(report))
    value["report"]["later"] = {"any": 1}
    del value["report"]["differences"]
    for tenant in value["report"]["tenants"]:
        tenant["later"] = [1]

    assert document.read(json.dumps(value).encode()) == dataclasses.replace(report, differences=())


def changed(report: Report, **fields: object) -> bytes:
    value = json.loads(document.written(report))
    return json.dumps(value | {"report": value["report"] | fields}).encode()


@given(reports)
@settings(max_examples=5, deadline=None)
def test_what_is_no_report_is_refused(report):
    """Another version, a missing field, a value of another kind: refused, and nothing of it is quoted."""
    value = json.loads(document.written(report))
    wrong = [
        b"",
        b"[]",
        b"{}",
        json.dumps(value | {"document": "pbx-meter usage report 2"}).encode(),
        json.dumps({"document": document.VERSION}).encode(),
        changed(report, revision=True),
        changed(report, revision="1"),
        changed(report, revision=1.5),
        changed(report, tenants={}),
        changed(report, tenants=[{"agent": "secret"}]),
        changed(report, partners=[["one"]]),
        changed(report, brand=value["report"]["brand"] | {"logo": ["image/png", "%%%"]}),
    ]

    for each in wrong:
        with pytest.raises(Unreadable) as said:
            document.read(each)
        assert "secret" not in str(said.value)
