"""How long a token lives, and when it is renewed."""

import base64
import json

import pytest

from connectors.threecx.token import token

NOW_S = 1_790_000_000


def jwt(**claims):
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "ES256"}, claims)
    ]
    return ".".join([*parts, "sig"])


@pytest.mark.parametrize(
    ("body", "date_s", "life_s", "least_s"),
    [
        # the token's own end, by the 3CX's clock as its Date header tells it
        ({"access_token": jwt(exp=NOW_S + 3600), "expires_in": 60}, NOW_S, 3600, 3600),
        ({"access_token": jwt(exp=NOW_S + 60), "expires_in": 60}, NOW_S, 60, 60),
        # our clock never matters: a 3CX that is five minutes ahead says so in both
        ({"access_token": jwt(exp=NOW_S + 3900), "expires_in": 60}, NOW_S + 300, 3600, 3600),
        # no Date: when it was made, says the token itself
        ({"access_token": jwt(exp=NOW_S + 600, iat=NOW_S), "expires_in": 60}, None, 600, 600),
        # an end that lies before its beginning is none
        ({"access_token": jwt(exp=NOW_S), "expires_in": 3600}, NOW_S, 3600, 3600),
        # no end in it: 300 and more are seconds
        ({"access_token": "opaque", "expires_in": 3600}, NOW_S, 3600, 3600),
        ({"access_token": jwt(sub="900"), "expires_in": 300}, NOW_S, 300, 300),
        # less may be minutes or seconds: used for 45 min, and no surprise if it ends after 60 s
        ({"access_token": "opaque", "expires_in": 60}, NOW_S, 2700, 60),
        ({"access_token": "opaque"}, NOW_S, 2700, 2700),
        ({"access_token": "opaque", "expires_in": "3600"}, NOW_S, 2700, 2700),
        ({"access_token": jwt(exp="later"), "expires_in": True}, NOW_S, 2700, 2700),
        ({"access_token": "a.%%%.c", "expires_in": 3600}, NOW_S, 3600, 3600),
        ({"access_token": "a.W10.c", "expires_in": 3600}, NOW_S, 3600, 3600),
    ],
)
def test_how_long_a_token_lives(body, date_s, life_s, least_s):
    """By its own `exp` and the 3CX's clock; else by `expires_in`, in both of its meanings."""
    found = token(body, date_s)
    assert (found.life_s, found.least_s) == (life_s, least_s)


@pytest.mark.parametrize("given", [None, "", 7, "two words", "line\nbreak", "Ü", "x" * 20_000])
def test_what_can_t_be_a_token_is_refused(given):
    """A value that could not stand in a header is no token."""
    with pytest.raises(ValueError):  # noqa: PT011 -- any; the caller says whose answer it was
        token({"access_token": given, "expires_in": 60}, NOW_S)


def test_it_is_renewed_at_four_fifths_of_its_life_and_not_before_half_a_minute():
    """A token of an hour is due after 48 min; one of 60 s after 48 s; one of 10 s not before 30 s."""
    for life_s, due_s in ((3600, 2880), (60, 48), (10, 30)):
        found = token({"access_token": jwt(exp=NOW_S + life_s)}, NOW_S)
        assert not found.due(due_s - 0.1)
        assert found.due(due_s)


def test_roles_are_read_from_the_token():
    """A list, one word, or a web user's MaxRole; none where the token can't be read."""
    assert token({"access_token": jwt(role=["App", "system_admins", 7])}, None).roles == {
        "App",
        "system_admins",
    }
    assert token({"access_token": jwt(role="MyUser", MaxRole="system_owners")}, None).roles == {
        "MyUser",
        "system_owners",
    }
    assert token({"access_token": "opaque"}, None).roles == frozenset()


def test_nothing_secret_is_shown():
    """Neither the token nor what renews it is in its repr."""
    found = token({"access_token": "a.secret.token", "refresh_token": "renewing"}, None)
    assert found.refresh == "renewing"
    assert "secret" not in repr(found)
    assert "renewing" not in repr(found)


@pytest.mark.parametrize("refresh", ["two words", "a;b=c", "", None, 7])
def test_what_can_t_be_a_cookie_renews_nothing(refresh):
    """A refresh token that would break a header is taken for none."""
    assert token({"access_token": "opaque", "refresh_token": refresh}, None).refresh == ""
