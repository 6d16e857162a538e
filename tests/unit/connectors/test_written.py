"""Asterisk's own configuration files, read as Asterisk reads them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from connectors.asterisk.written import Written, read


def written(text: str, **others: str) -> Written:
    """Read a.conf; other files are named by their names without `.conf`."""
    files = {"a.conf": text} | {f"{name}.conf": content for name, content in others.items()}

    def reading(pattern: str) -> Iterable[tuple[str, str]]:
        return [(name, files[name]) for name in sorted(files) if fnmatchcase(name, pattern)]

    return read("a.conf", reading)


def pairs(text: str, **others: str) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(s.name, [(v.key, v.value) for v in s.settings]) for s in written(text, **others).sections]


def test_sections_keep_their_order_and_their_namesakes() -> None:
    """PJSIP gives an endpoint, its AOR and its auth one name: each stays a section of its own."""
    text = "[101]\ntype=endpoint\n[101]\ntype = aor\nmax_contacts => 1\n"

    assert pairs(text) == [
        ("101", [("type", "endpoint")]),
        ("101", [("type", "aor"), ("max_contacts", "1")]),
    ]


def test_a_template_is_no_section_and_gives_what_it_says() -> None:
    """`(!)` makes a template, `(a,b)` begins with what templates say, and what comes later holds."""
    text = "[phone](!)\ntype=endpoint\ncontext=in\n[more](!,phone)\nallow=ulaw\n[101](more)\ncontext=own\n"

    found = written(text)

    assert [section.name for section in found.sections] == ["101"]
    (phone,) = found.sections
    assert phone.kind == "endpoint"
    assert phone.get("context") == "own"
    assert phone.get("allow") == "ulaw"


def test_a_plus_goes_on_with_what_is_there() -> None:
    """`(+)` adds to the last section of that name, `(+type=aor)` to that of them, and opens one if there is none."""
    text = "[x]\ntype=endpoint\n[x]\ntype=aor\n[x](+)\na=1\n[x](+type=endpoint)\nb=2\n[y](+)\nc=3\n"

    assert pairs(text) == [
        ("x", [("type", "endpoint"), ("b", "2")]),
        ("x", [("type", "aor"), ("a", "1")]),
        ("y", [("c", "3")]),
    ]


def test_comments_are_left_out_and_escaped_semicolons_stay() -> None:
    """`;` ends a line, `;-- … --;` may span lines, `;---` is an ordinary rule, and a semicolon may be escaped."""
    text = (
        "[a] ; first\nx=1 ;-- begins\ny=2\nends --; z=3\n;--- a rule ---\nsecret=a\\;b ; c\nw=1;-- in --;2\n"
    )

    assert pairs(text) == [("a", [("x", "1"), ("z", "3"), ("secret", "a;b"), ("w", "12")])]


def test_included_files_go_on_in_the_section_that_includes_them() -> None:
    """FreePBX writes `[general]` here and what it says there; a glob includes files in the order of their names."""
    text = '[general]\nx=1\n#include b.conf\ny=2\n#include "c*.conf"\n#tryinclude <none.conf>\n'

    found = written(text, b="from=b\n", c2="[two]\n", c1="[one]\n")

    assert [(s.name, [v.key for v in s.settings]) for s in found.sections] == [
        ("general", ["x", "from", "y"]),
        ("one", []),
        ("two", []),
    ]
    assert found.includes == ["b.conf", "c*.conf", "none.conf"]
    assert [(v.file, v.line) for v in found.sections[0].settings] == [
        ("a.conf", 2),
        ("b.conf", 1),
        ("a.conf", 4),
    ]


def test_files_that_include_each_other_come_to_an_end() -> None:
    """A file that includes itself is read as deep as Asterisk would, no further."""
    assert len(written("[a]\nx=1\n#include a.conf\n").sections) == 11


def test_values_with_commas_are_many_where_many_are_meant() -> None:
    """`match = a, b` and a `match` for each are the same; the last of a single value holds."""
    (found,) = written(
        "[a]\nmatch=192.0.2.1, 192.0.2.2\nmatch=192.0.2.3\nenabled=no\nenabled = YES\n"
    ).sections

    assert found.all("match") == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert found.is_on("enabled")
    last = found.last("enabled")
    assert last is not None
    assert last.line == 5
    assert (found.get("none"), found.last("none"), found.all("none")) == ("", None, [])


def test_a_file_that_is_not_there_says_nothing() -> None:
    """No file, no section, no error."""
    assert read("a.conf", lambda _: ()) == Written()


@given(st.text(alphabet='[]()!+=;-#\\"<> \n\rabc,', max_size=200))
def test_no_text_is_refused(text: str) -> None:
    """Whatever stands in a file, it is read to its end, and every line number is one of the file's."""
    lines = len(text.splitlines())

    for section in written(text).sections:
        assert 1 <= section.line <= lines
        assert all(1 <= setting.line <= lines for setting in section.settings)


def test_no_secret_is_shown_by_accident() -> None:
    """What a debugger or a log would print of a setting holds no value."""
    assert "hush" not in repr(written("[a]\nsecret = hush\n"))
