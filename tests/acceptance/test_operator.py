"""The operator hears of a PBX that is gone, over whole processes and through a kill -9."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.around import until
from tests.acceptance.harness import site

OPERATOR = '[operator]\nemail = ["noc@partner.example"]\nlanguage = "it"\nunreachable_after = "10s"\n\n[smtp]'


async def test_told_once_through_a_kill_and_once_more_when_it_is_over(tmp_path: Path) -> None:
    """One mail for a PBX that stays away though the agent is killed meanwhile, and one when it is back."""
    async with site(tmp_path, [("[smtp]", OPERATOR)], ahead_ms=0) as it:
        port = it.asterisk.port
        await it.serve()
        await it.enrol("acme", "globex")
        await it.run()
        await it.asterisk.stop()
        await until(lambda: it.mailbox.mails, within_s=30, what="a mail")
        sent = "SELECT count(*) FROM outbox WHERE state = 'delivered'"  # else a kill may make it come twice
        await until(lambda: it.stored(sent) == [(1,)], what="that it is written down")
        kept = "SELECT kind, subject, told_at IS NOT NULL, over_at IS NOT NULL FROM troubles"
        assert it.stored(kept) == [("unseen", "pbx1", 1, 0)]
        await it.kill()

        await it.run(linked=False)
        await it.shows(lambda s: s["pbxs"]["pbx1"]["trouble"], what="that the PBX is still away", within_s=20)
        await it.asterisk.start(port=port)
        await until(lambda: len(it.mailbox.mails) > 1, within_s=40, what="the end of it")
        await it.shows(lambda s: s["outbox"]["waiting"] == 0, what="an empty outbox")

        assert [mail.message["subject"] for mail in it.mailbox.mails] == [
            "ams-01: Il PBX pbx1 non può essere seguito",
            "ams-01: Il PBX pbx1 è di nuovo seguito",
        ]
        assert it.stored(kept) == [("unseen", "pbx1", 0, 1)]
