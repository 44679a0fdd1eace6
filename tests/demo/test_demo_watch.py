"""The demo, watched: its figures on the terminal while it sends."""

import re
import signal
import uuid

import pytest
from demo_support import MARK, processes_of
from pty_support import on_a_drawable_terminal
from support import LIMIT, wait_until

# Once, because it is not about the SDK: KServe's servers start sooner than KFServing's.
pytestmark = [pytest.mark.demo, pytest.mark.model, pytest.mark.kserve, pytest.mark.long, pytest.mark.timeout(900)]


def test_the_figures_are_shown_while_the_demo_sends_and_summed_up_after_ctrl_c(
    serving, model, big_pictures, cache, tmp_path
):
    mark = uuid.uuid4().hex
    env = {"OTEL_KFS_CACHE": str(cache), MARK: mark}
    with on_a_drawable_terminal("demo", "--watch", "--repeat", "50", "-o", str(tmp_path / "run"), **env) as terminal:
        wait_until("a measured image's row", lambda: re.search(r"^HTTP, \d+\.\dMB +1 ", terminal.text, re.M), 600)
        assert re.search(r"sending \d+\.\dMB over HTTP: \d+ of \d+; Ctrl-C ends", terminal.text)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(LIMIT) == 130
    assert re.search(r"^An image .*takes .* over HTTP", terminal.after_the_screen, re.M)
    assert re.search(r"images? measured; .*\d+ left out: warm-up", terminal.after_the_screen)
    wait_until("no process is left", lambda: not processes_of(mark))
