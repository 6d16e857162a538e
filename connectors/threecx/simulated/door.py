"""The two ways in: `/connect/token` for API clients, and the web client's own log-in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from connectors.threecx.simulated.answers import Answer, told
from connectors.threecx.simulated.directory import Directory, User
from connectors.threecx.simulated.tokens import Client, Tokens

_JSON: Final = "application/json; charset=utf-8"
_REFUSED: Final = {
    "error": "unauthorized",
    "error_description": "The request requires valid user authentication.",
}
_COOKIE: Final = "RefreshTokenCookie"


@dataclass(slots=True)
class Door:
    """Who is let in.

    Attributes:
        directory: Its users may log in to the web client.
        clients: By their ids.
        tokens: What they get, and who is shut out.
    """

    directory: Directory
    clients: Mapping[str, Client]
    tokens: Tokens

    def token(self, form: Mapping[str, str], cookies: Mapping[str, str], address: str) -> Answer:
        """Answer `POST /connect/token`."""
        if form.get("grant_type") == "refresh_token":
            return self._renew(form, cookies, address)
        if form.get("grant_type") != "client_credentials":
            return told(400, {"error": "unsupported_grant_type"}, _JSON)
        client = self.clients.get(form.get("client_id", ""))
        if client is None or client.secret != form.get("client_secret"):
            self.tokens.wrong(address)
            return told(401, _REFUSED, _JSON)
        self.tokens.right(address)
        return told(200, self._bearing(self.tokens.mint(client), None), _JSON)

    def log_in(self, body: str, address: str) -> Answer:
        """Answer `POST /webclient/api/Login/GetAccessToken`.

        What a real one says to a wrong password and to a user with a second factor is inferred:
        200, with a Status other than AuthSuccess and no token.
        """
        try:
            asked = json.loads(body)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            return Answer(400)
        user = self.directory.user(str(asked.get("Username", "")))
        if user is None or not user.password or user.password != asked.get("Password"):
            self.tokens.wrong(address)
            return self._logged_in("AuthFailed")
        self.tokens.right(address)
        if not user.enabled:
            return self._logged_in("AccountLocked")
        if user.two_factor and not asked.get("SecurityCode"):
            return self._logged_in("TwoFactorAuthRequired", factor={"Type": "App"})
        return self._let_in(user)

    def _let_in(self, user: User) -> Answer:
        access, refresh = self.tokens.log_in(user)
        answer = self._logged_in("AuthSuccess", self._bearing(access, refresh))
        cookie = f"{_COOKIE}={refresh}; Path=/connect/token; HttpOnly; Max-Age=5184000"
        return Answer(answer.status, answer.body, answer.kind, {"Set-Cookie": cookie})

    def _logged_in(
        self, status: str, token: dict[str, Any] | None = None, factor: dict[str, Any] | None = None
    ) -> Answer:
        return told(200, {"Status": status, "Token": token, "TwoFactorAuth": factor}, _JSON)

    def _renew(self, form: Mapping[str, str], cookies: Mapping[str, str], address: str) -> Answer:
        user = self.tokens.renewing(cookies.get(_COOKIE, ""))
        if user is None or form.get("client_id") != "Webclient":
            self.tokens.wrong(address)
            return told(401, _REFUSED, _JSON)
        return told(200, self._bearing(*self.tokens.log_in(user)), _JSON)

    def _bearing(self, access: str, refresh: str | None) -> dict[str, Any]:
        return {
            "token_type": "Bearer",
            "expires_in": self.tokens.expires_in,
            "access_token": access,
            "refresh_token": refresh,
        }
