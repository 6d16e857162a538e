"""One running Asterisk out of a read-only root: started, killed, restarted, and gone at the end.

It runs in its own mount namespace, with the root mounted read-only and a
directory of its own on /instance: its mounts end with its process, whatever ends
the tests. It is killed when the process that started it dies.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.asterisk import configuration
from tests.asterisk.configuration import Account, Addresses
from tests.asterisk.roots import Root

_START_S: Final = 30.0
_STOP_S: Final = 10.0

#: $1: the root, $2: the instance's own directory. `exec`: the process that was
#: started *is* Asterisk, so a signal to it needs no search.
_ENTER: Final = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs tmpfs "$1/tmp"
mount --bind "$2" "$1/instance"
exec chroot "$1" asterisk -f -p -C /instance/etc/asterisk.conf
"""


class InstanceError(Exception):
    """Asterisk does not do what the harness needs; the end of its log stands in the sentence."""


@dataclass(slots=True)
class Instance:
    """One Asterisk. It is made running by `running()`.

    Attributes:
        root: The Debian it runs in; `generation` and `version` are its own.
        addresses: Where it listens and who is around it.
        accounts: AMI accounts, by name (configuration.RIGHTS).
        home: Its own directory on this machine; /instance to itself.
    """

    root: Root
    addresses: Addresses
    accounts: Mapping[str, Account]
    home: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def generation(self) -> str:
        """`22` or `16`."""
        return self.root.generation

    @property
    def version(self) -> str:
        """What Asterisk itself says (`22.10.1~dfsg…`)."""
        return self.root.version

    @property
    def host(self) -> str:
        """Where its AMI and its SIP listen."""
        return self.addresses.host

    @property
    def ami_port(self) -> int:
        """The port of its AMI."""
        return self.addresses.ami_port

    def start(self) -> None:
        """Start it and wait until it is fully booted.

        Raises:
            InstanceError: It ended or was not ready in time.
        """
        if self.is_up():
            raise InstanceError("it is already running")
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"]
        command += ["sh", "-c", _ENTER, "sh", str(self.root.path), str(self.home)]
        with (self.home / "output").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._wait_until_booted(self._process)

    def kill(self) -> None:
        """End it as a power cut would: no BYE, no last event. Nothing if it is down."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)
            self._process = None

    def stop(self) -> None:
        """Ask it to end (SIGTERM: it hangs up its calls and says Shutdown); kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_S)
        self._process = None

    def restart(self) -> None:
        """Kill it and start it again with the same addresses and accounts."""
        self.kill()
        self.start()

    def is_up(self) -> bool:
        """Say whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def epitaph(self) -> str:
        """Say that it is up, or how it ended with the last of what it wrote."""
        if self._process is None or self._process.poll() is None:
            return f"Asterisk {self.version} is {'down' if self._process is None else 'up'}"
        wrote = (self.home / "output").read_text(errors="replace").splitlines()[-10:]
        return "\n".join([f"Asterisk {self.version} ended with {self._process.returncode}", *wrote])

    def complaints(self) -> list[str]:
        """Return the warnings and errors that it logged since it was made."""
        log = self.home / "log" / "messages"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return [line for line in lines if "WARNING[" in line or "ERROR[" in line]

    def call_records(self) -> str:
        """Return the call records that it wrote since it was made: cdr_csv's Master.csv."""
        file = self.home / "log/cdr-csv/Master.csv"
        return file.read_text() if file.exists() else ""

    def _wait_until_booted(self, process: subprocess.Popen[bytes]) -> None:
        """Log in until AMI says FullyBooted: it says so at once to who comes later."""
        driver = self.accounts["driver"]
        login = (
            f"Action: Login\r\nUsername: {driver.name}\r\nSecret: {driver.secret}\r\nEvents: system\r\n\r\n"
        )
        for _ in range(int(_START_S / 0.1)):
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                if self._greets(login.encode()):
                    return
            else:
                break
        end = self.epitaph()
        self.kill()
        raise InstanceError(f"it did not boot: {end}")

    def _greets(self, login: bytes) -> bool:
        try:
            with socket.create_connection((self.host, self.ami_port), timeout=_START_S) as link:
                link.sendall(login)
                said = b""
                while piece := link.recv(4096):
                    said += piece
                    if b"Event: FullyBooted" in said:
                        return True
        except OSError:
            pass
        return False


@contextmanager
def running(root: Root) -> Iterator[Instance]:
    """Give a booted Asterisk on addresses of its own; at the end nothing of it is left."""
    home = Path(tempfile.mkdtemp(prefix="pbx-meter-asterisk-"))
    instance = Instance(root, configuration.addresses(), configuration.accounts(), home)
    try:
        _furnish(instance)
        instance.start()
        yield instance
    finally:
        instance.kill()
        shutil.rmtree(home)


def _furnish(instance: Instance) -> None:
    home = instance.home
    for name in ("etc", "lib", "run", "log", "spool", "data"):
        (home / name).mkdir(parents=True)
    (home / "log/cdr-csv").mkdir()  # cdr_csv writes there, and does not make it
    # Modules refuse to load without their documentation: it describes their options.
    (home / "data/documentation").symlink_to("/usr/share/asterisk/documentation")
    texts = configuration.files(instance.addresses, instance.accounts, instance.generation)
    for name, text in texts.items():
        (home / "etc" / name).write_text(text)
