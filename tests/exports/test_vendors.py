"""docs/exports.md, run as it stands: each vendor's own client sends what the page makes of an event."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import lago_python_client
import openmeter
import pytest
import requests
import stripe
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from provider.exporting import METERS, events, lines
from tests.exports.months import END, report, usage

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")
EVENTS = [
    json.loads(line)
    for line in lines(events([report(usage("acme")), report(usage("acme", users=40), revision=2)]))
]
CUSTOMERS = {"C-acme": "cus_made_up"}


def documented(name: str) -> Callable[..., Any]:
    """Return a function of the page by its name."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        exec(block, found)  # our own page: what it tells people to run is what is tried
    return found[name]


def table(title: str) -> list[str]:
    """Return what the first column of a section's table names."""
    section = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@dataclass
class Vendor:
    """A server that takes what comes and gives one answer."""

    status: int
    answer: dict[str, Any] | None
    url: str = ""
    arrived: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def vendor(status: int, answer: dict[str, Any] | None = None) -> Iterator[Vendor]:
    here = Vendor(status, answer)

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.arrived.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            said = b"" if here.answer is None else json.dumps(here.answer).encode()
            self.send_response(here.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    turning = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    turning.start()
    try:
        yield here
    finally:
        server.shutdown()
        turning.join(10)
        server.server_close()


def test_openmeter_takes_the_lines_as_they_are() -> None:
    """OpenMeter's client sends each event unchanged, as a CloudEvent, and its fields are those of the page."""
    with vendor(204) as here, openmeter.Client(endpoint=here.url, token="made-up") as client:
        for event in EVENTS:
            client.events.ingest_event(documented("openmeter")(event))

    assert [json.loads(body) for _, _, body in here.arrived] == EVENTS
    for path, headers, body in here.arrived:
        assert path == "/api/v1/events"
        assert headers["content-type"] == "application/cloudevents+json"
        assert json.loads(body).keys() - {"datacontenttype"} <= set(table("OpenMeter"))


def test_openmeters_meters_find_their_values() -> None:
    """The meter that the page shows finds a number and its groups in each event of its type."""
    properties = re.findall(r"\$\.(\w+)", PAGE)

    assert properties == ["difference", "unit", "tenant"]
    for event in EVENTS:
        assert isinstance(event["data"]["difference"], int)
        assert all(isinstance(event["data"][name], str) for name in properties[1:])


def test_lago_takes_the_events() -> None:
    """Lago's client sends the fields of the page: the event's id once, the customer, the metric, seconds, the difference."""
    with vendor(200, {}) as here:
        client = lago_python_client.Client(api_key="made-up", api_url=here.url)
        for event in EVENTS:
            client.events.create(documented("lago")(event))

    assert len(here.arrived) == len(EVENTS)
    for (path, _, body), event in zip(here.arrived, EVENTS, strict=True):
        sent = json.loads(body)["event"]
        assert path == "/api/v1/events"
        assert sent.keys() - {"precise_total_amount_cents"} == set(table("Lago"))
        assert sent["transaction_id"] == event["id"]
        assert sent["external_subscription_id"] == "C-acme"
        assert sent["code"] == f"pbx_{event['data']['meter']}"
        assert int(sent["timestamp"]) == (END - 1) // 1000  # its client writes it as text
        assert sent["properties"]["difference"] == event["data"]["difference"]


def test_stripe_takes_the_events() -> None:
    """Stripe's client sends whole numbers as text, an identifier that fits, and a second of the period."""
    with vendor(200, {"object": "billing.meter_event"}) as here:
        client = stripe.StripeClient(
            "sk_test_made_up", base_addresses={"api": here.url}, max_network_retries=0
        )
        for event in EVENTS:
            client.v1.billing.meter_events.create(documented("stripe")(event, CUSTOMERS))

    assert len(here.arrived) == len(EVENTS)
    for (path, _, body), event in zip(here.arrived, EVENTS, strict=True):
        sent = {name: value for name, (value,) in parse_qs(body.decode()).items()}
        assert path == "/v1/billing/meter_events"
        assert sent.keys() == set(table("Stripe"))
        assert sent == {
            "event_name": f"pbx_{event['data']['meter']}",
            "identifier": sha256(event["id"].encode()).hexdigest(),
            "timestamp": str((END - 1) // 1000),
            "payload[stripe_customer_id]": "cus_made_up",
            "payload[value]": str(event["data"]["difference"]),
        }
        assert len(sent["identifier"]) <= 100


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RelatedParty(Strict):
    """`RelatedParty` of TMF635 v4.0.0: id and @referredType are required."""

    id: str
    referred_type: Annotated[str, Field(alias="@referredType")]
    role: str | None = None
    name: str | None = None


class UsageCharacteristic(Strict):
    """`UsageCharacteristic` of TMF635 v4.0.0: name and value are required."""

    name: str
    value: int | str
    valueType: str | None = None  # noqa: N815 - the standard's own name


class UsageSpecificationRef(Strict):
    """`UsageSpecificationRef` of TMF635 v4.0.0: id is required."""

    id: str
    name: str | None = None


class UsageCreate(Strict):
    """`Usage_Create` of TMF635 v4.0.0, as far as we use it: nothing is required, `id` can't be given."""

    description: str
    usageDate: Annotated[AwareDatetime, Field(strict=False)]  # noqa: N815 - the standard's own name
    usageType: str  # noqa: N815 - the standard's own name
    status: Literal["received", "rejected", "recycled", "guided", "rated", "rerated", "billed"]
    relatedParty: list[RelatedParty]  # noqa: N815 - the standard's own name
    usageCharacteristic: list[UsageCharacteristic]  # noqa: N815 - the standard's own name
    usageSpecification: UsageSpecificationRef  # noqa: N815 - the standard's own name


def test_a_tmf635_usage_has_the_standards_fields() -> None:
    """What is posted as a TMF635 usage has the fields, types and status that TM Forum's OpenAPI file asks for."""
    path = "/tmf-api/usageManagement/v4/usage"
    with vendor(201, {}) as here:
        for event in EVENTS:
            requests.post(f"{here.url}{path}", json=documented("tmf635")(event), timeout=10)

    for (asked, _, body), event in zip(here.arrived, EVENTS, strict=True):
        sent = UsageCreate.model_validate_json(body)
        said = {one.name: one.value for one in sent.usageCharacteristic}
        assert asked == path
        assert sent.usageDate == datetime.fromisoformat(event["time"])
        assert sent.relatedParty[0].id == "C-acme"
        assert (said["eventId"], said["difference"]) == (event["id"], event["data"]["difference"])
        assert ("replaces" in said) is (event["data"]["revision"] == 2)
        named = set(table("TM Forum")) - json.loads(body).keys() - said.keys()
        assert named == {"usageSpecification.id"}


def test_the_page_names_every_meter() -> None:
    """The page says of each meter what it is, and of none that there is not."""
    section = PAGE.partition("## The events")[2].partition("| field | what |")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)

    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == [meter.name for meter in METERS]


def test_the_page_shows_a_true_event() -> None:
    """The event on the page has the fields of those that are exported, and their form."""
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0])

    def form(value: Any) -> Any:
        return {name: form(each) for name, each in value.items()} if isinstance(value, dict) else type(value)

    assert form(shown) == form(EVENTS[0])
    assert shown["id"] == EVENTS[0]["id"]


@pytest.mark.parametrize("name", ["openmeter", "lago", "stripe", "tmf635"])
def test_the_page_has_a_function_for_each_vendor(name: str) -> None:
    """Each vendor has a function on the page that leaves the event as it was."""
    event = json.loads(json.dumps(EVENTS[0]))

    documented(name)(event, *([CUSTOMERS] if name == "stripe" else []))

    assert event == EVENTS[0]


def test_no_vendors_package_hides_our_tests() -> None:
    """A client that installs a `tests` of its own (lago-python-client does) does not stand before ours: `python -m tests.…` finds them."""
    root = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", "import tests.exports; print(*tests.exports.__path__)"],
        cwd=root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert Path(found.stdout.strip()) == root / "tests" / "exports"
