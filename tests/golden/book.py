"""Seals chains of records for tests, from the pinned records of version 1."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

from agent.keys import change_record
from meter import signature
from meter.schema import canonical_bytes
from meter.signature import PrivateKey, sha256_hex

HERE = Path(__file__).parent
TEMPLATES = {
    name: json.loads((HERE / f"{name}.json").read_text())
    for name in ("interim", "final", "correction", "minute-series")
}
Edit = Callable[[dict], object]


class Book:
    """One agent's chain, sealed as an honest agent seals it unless `edit` says otherwise."""

    def __init__(
        self, key: PrivateKey, chain: str = "c-1", continues: dict | None = None, agent: str = "ams-01"
    ) -> None:
        self.key = key
        self.agent = agent
        self.chain = {"id": chain, "continues": continues}
        self.tokens: list[str] = []
        self.tenants: dict[str, list[str]] = {}

    def seal(
        self,
        tenant: str = "acme",
        kind: str = "interim",
        edit: Edit | None = None,
        revision: int | None = None,
    ) -> str:
        """Seal the next record."""
        record = copy.deepcopy(TEMPLATES[kind])
        own = self.tenants.setdefault(tenant, [])
        number = len(own) + 1
        name = record["id"].split("/")[1]
        if revision is None:
            revision = number if kind == "interim" else record["data"]["revision"]
        record |= {
            "source": f"/agents/{self.agent}",
            "subject": tenant,
            "id": f"{tenant}/{name}/{kind}/{revision}",
        }
        record["data"]["tenant"]["id"] = tenant
        record["data"]["agent"]["id"] = self.agent
        record["data"] |= {
            "chain": self.chain,
            "sequence": len(self.tokens) + 1,
            "previous_sha256": sha256_hex(self.tokens[-1]) if self.tokens else None,
            "tenant_sequence": number,
            "tenant_previous_sha256": sha256_hex(own[-1]) if own else None,
            "revision": revision,
        }
        if edit:
            edit(record)
        own.append(self._put(record))
        return own[-1]

    def correct(self, replaced: str, revision: int, tenant: str = "acme") -> str:
        """Seal a correction of that record."""
        replaces = {"id": "any", "sha256": sha256_hex(replaced)}
        return self.seal(
            tenant, "correction", lambda record: record["data"].update(replaces=replaces), revision
        )

    def change_key(self, new: PrivateKey) -> str:
        """Seal a key change; the new key signs from then on."""
        record = change_record(
            agent=TEMPLATES["final"]["data"]["agent"] | {"id": self.agent},
            chain=self.chain,
            sequence=len(self.tokens) + 1,
            previous_sha256=sha256_hex(self.tokens[-1]) if self.tokens else None,
            number=1,
            old=self.key,
            new=new,
            now=0,
        )
        token = self._put(record)
        self.key = new
        return token

    def sealed(self, *tenants: str) -> list[str]:
        """Seal an interim of each tenant, and return the whole chain."""
        for tenant in tenants:
            self.seal(tenant)
        return self.tokens

    def last(self) -> dict:
        """What a new chain names as the end of this one."""
        return {
            "chain": self.chain["id"],
            "sequence": len(self.tokens),
            "sha256": sha256_hex(self.tokens[-1]),
        }

    def _put(self, record: dict) -> str:
        self.tokens.append(signature.sign(canonical_bytes(record), self.key, signature.TYP_RECORD))
        return self.tokens[-1]
