"""What can be sent to Asterisk, and nothing else."""

import pytest

from connectors.asterisk.actions import ACTIONS, Answer, NotAllowed, encode


def test_an_action_has_the_form_of_the_wire():
    """An action is its name, its id, its headers, a blank line."""
    assert (
        encode("Login", "7", {"Username": "meter"})
        == b"Action: Login\r\nActionID: 7\r\nUsername: meter\r\n\r\n"
    )


@pytest.mark.parametrize(
    "action",
    [
        "Hangup",
        "Originate",
        "Redirect",
        "Command",
        "Status",
        "ExtensionStateList",
        "PJSIPUnregister",
        "ping",
        "",
    ],
)
def test_other_actions_never_leave(action):
    """What is not on the list raises before there are any bytes; so does another spelling."""
    with pytest.raises(NotAllowed):
        encode(action, "1")


@pytest.mark.parametrize("value", ["a\r\nAction: Hangup", "a\nb", "a\rb", "a\0b"])
def test_no_value_smuggles_an_action_in(value):
    """A line end in a value, a name or an id raises, and the error does not show the value."""
    for arguments in (("Login", "1", {"Secret": value}), ("Login", "1", {value: "x"}), ("Login", value)):
        with pytest.raises(NotAllowed) as caught:
            encode(*arguments)
        if arguments[1] == "1" and "Secret" in str(arguments[2]):
            assert "Hangup" not in str(caught.value)


def test_the_list_is_short_and_reads_only():
    """The list is pinned here: to add an action is to argue for it."""
    assert set(ACTIONS) == {
        *("Login", "Logoff", "Ping", "CoreStatus", "CoreSettings", "ListCommands", "CoreShowChannels"),
        *(
            "DeviceStateList",
            "SIPpeers",
            "IAXpeerlist",
            "PJSIPShowEndpoints",
            "PJSIPShowRegistrationsOutbound",
        ),
    }


def test_a_refusal_is_asterisks_own_words():
    """An error's message is the refusal; a success has none."""
    assert Answer({"response": "Success"}).refusal is None
    assert Answer({"response": "Error", "message": "Permission denied"}).refusal == "Permission denied"
    assert Answer({"response": "Error"}).refusal == "no reason given"
