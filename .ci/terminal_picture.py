"""Records docs/terminal.svg: what a terminal of 80 columns shows while a real measurement runs. No figure is made up.

    make picture

The example's transformer and predictor are started, with pictures of 1.1 and 10.2 MB in the current folder; ports 4317,
4318, 8080 and 8081 have to be free. Then the commands of `SCENE` are typed into a shell in a terminal, which pyte
emulates. What was on each of its rows, and when, becomes one SVG that plays in a browser, also as an <img>; without
animation it is the last screen.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

import pyte

TOP = Path(__file__).resolve().parents[1]
PICTURE = TOP / "docs/terminal.svg"
COLUMNS, LINES = 80, 26
WIDTH, HEIGHT, SIZE, MARGIN = 8.0, 18, 13.3, 14  # of a character, a row, the font, the frame
PROMPT = "$ "
LONGEST_PAUSE, ANSWER = 1.2, 5.0  # seconds: longer pauses are cut; the last screen is shown first, and again at the end

COLOURS = {
    "default": "#d6dae0",
    "black": "#5c6370",
    "red": "#f07178",
    "green": "#9bd27d",
    "brown": "#e6c06b",
    "blue": "#7fb4f5",
    "magenta": "#c9a0f0",
    "cyan": "#6fd0d0",
    "white": "#ffffff",
    "brightblack": "#7f8794",
}


@dataclass(frozen=True)
class Step:
    """A command that is typed; with `meanwhile`, until that has ended, and then Ctrl-C."""

    typed: str
    meanwhile: str = ""


SEND = "otel-kfs send --url http://localhost:8080 --model mobilenet --repeat 8 cat.jpg big.jpg"
SCENE = (Step("otel-kfs watch", meanwhile=SEND),)

Row = tuple[tuple[str, str, bool], ...]  # runs of text, each with its colour, and whether it is bold


class Terminal:
    """A shell in an emulated terminal, and what its screen has shown."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        self.frames: list[tuple[float, tuple[Row, ...]]] = []
        self._now = 0.0
        self._shell, self._terminal = pty.fork()
        if not self._shell:
            os.chdir(folder)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile"], variables)  # noqa: S606
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def play(self, step: Step, meanwhile: Callable[[str], subprocess.Popen[bytes]]) -> None:
        """Type a command, and record until the prompt is back."""
        for key in step.typed:
            os.write(self._terminal, key.encode())
            self._record(lambda: True, 0.04)
        os.write(self._terminal, b"\n")
        if step.meanwhile:
            self._record(lambda: False, 2.0)
            process = meanwhile(step.meanwhile)
            self._record(lambda: process.poll() is not None, 120.0)
            if process.poll() != 0:
                sys.exit(f"did not work, and is no picture: {step.meanwhile}")
            self._record(lambda: False, 7.0)  # servers export every five seconds
            os.write(self._terminal, b"\x03")
        self._record(self._is_waiting, 120.0)
        self._now += LONGEST_PAUSE

    def begin(self) -> None:
        """Wait for the first prompt."""
        self._record(self._is_waiting, 10.0)

    def end(self) -> float:
        """End the shell; return how long the whole takes, in seconds."""
        os.write(self._terminal, b"exit\n")
        os.waitpid(self._shell, 0)
        last = self.frames[-1][1]
        self.frames = [(0.0, last), *((moment + ANSWER, shown) for moment, shown in self.frames)]
        return self._now + 2 * ANSWER

    def _is_waiting(self) -> bool:
        return self._screen.display[self._screen.cursor.y].rstrip() == PROMPT.rstrip()

    def _record(self, is_over: Callable[[], bool], seconds: float) -> None:
        """Show what comes until `is_over`, or for so long; a pause is kept, up to a limit."""
        limit, last = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < limit:
            if select.select([self._terminal], [], [], 0.05)[0]:
                self._stream.feed(os.read(self._terminal, 65536))
                if select.select([self._terminal], [], [], 0.03)[0]:
                    continue  # half a screen is none
            elif is_over():
                break
            shown = tuple(map(self._row, range(LINES)))
            if not self.frames or shown != self.frames[-1][1]:
                self._now += min(time.monotonic() - last, LONGEST_PAUSE)
                last = time.monotonic()
                self.frames.append((self._now, shown))

    def _row(self, number: int) -> Row:
        characters = [self._screen.buffer[number][column] for column in range(COLUMNS)]
        if number == self._screen.cursor.y and not self._screen.cursor.hidden:
            characters[min(self._screen.cursor.x, COLUMNS - 1)] = characters[0]._replace(data="▏", fg="default")
        runs = groupby(characters, key=lambda one: (one.fg, one.bold))
        found = tuple(("".join(one.data for one in run), colour, bold) for (colour, bold), run in runs)
        return () if not "".join(text for text, _, _ in found).strip() else found


def drawn(frames: list[tuple[float, tuple[Row, ...]]], seconds: float) -> str:
    """Return the SVG: each row's text once for each time that it was there."""
    wide, high = COLUMNS * WIDTH + 2 * MARGIN, LINES * HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" '
        'xml:space="preserve" '
        f'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" font-size="{SIZE}">',
        "<style>text { white-space: pre } .b { font-weight: bold }</style>",
        f'<rect width="{wide:g}" height="{high:g}" rx="8" fill="#1d2027"/>',
    ]
    for number in range(LINES):
        for row, since, until in spans([(moment, rows[number]) for moment, rows in frames], seconds):
            parts.append(line(row, number, since, until, seconds))
    return "\n".join([*parts, "</svg>", ""])


def spans(rows: Iterable[tuple[float, Row]], seconds: float) -> Iterator[tuple[Row, float, float]]:
    """Yield each text that a row had, with when it came and when it went."""
    since, shown = 0.0, Row()
    for moment, row in rows:
        if row != shown:
            if shown and moment > since:
                yield shown, since, moment
            since, shown = moment, row
    if shown:
        yield shown, since, seconds


def line(row: Row, number: int, since: float, until: float, seconds: float) -> str:
    """Return one row's text, there from one moment to another; what is there last is there without animation, too."""
    column, texts = 0, []
    for text, colour, bold in row:
        if kept := text.rstrip():
            lead = len(kept) - len(kept.lstrip())
            more = f' fill="{COLOURS.get(colour, "#" + colour)}"' + (' class="b"' if bold else "")
            x, length = MARGIN + (column + lead) * WIDTH, (len(kept) - lead) * WIDTH
            texts.append(f'<tspan x="{x:g}" textLength="{length:g}"{more}>{escape(kept.lstrip())}</tspan>')
        column += len(text)
    y = MARGIN + number * HEIGHT + HEIGHT * 0.75
    changes = [("hidden", 0.0), ("visible", since)] if since else [("visible", 0.0)]
    changes += [("hidden", until)] if until < seconds else []
    values, times = ";".join(value for value, _ in changes), ";".join(f"{at / seconds:.4f}" for _, at in changes)
    shown = (
        f'<animate attributeName="visibility" values="{values}" keyTimes="{times}" dur="{seconds:.2f}s" '
        'calcMode="discrete" repeatCount="indefinite"/>'
    )
    hidden = ' visibility="hidden"' if until < seconds else ""
    return f'<text y="{y:g}"{hidden}>{"".join(texts)}{shown if len(changes) > 1 else ""}</text>'


def main(python: str) -> None:
    """Start the servers, play the scene, and draw it."""
    programs = Path(python).absolute().parent
    common = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": os.environ["HOME"], "PYTHONPATH": str(TOP)}
    common |= {"TERM": "xterm-256color", "PS1": PROMPT, "LANG": "C.UTF-8", "OTEL_SEMCONV_STABILITY_OPT_IN": "http"}
    with tempfile.TemporaryDirectory(prefix="otel-kfs-picture-") as name, ExitStack() as stack:
        folder = Path(name)
        made = subprocess.check_output([python, TOP / "examples/mobilenet/pictures.py"], env=common, text=True)
        smallest, *_, largest = (line.split()[0] for line in made.splitlines())
        shutil.copy(smallest, folder / "cat.jpg")
        shutil.copy(largest, folder / "big.jpg")
        for role, options in (("predictor", ["8081"]), ("transformer", ["8080", "--predictor_host", "127.0.0.1:8081"])):
            script = TOP / f"examples/mobilenet/{role}.py"
            server = subprocess.Popen(
                [python, "-m", "otel_kfs.demo.loopback", script, "--http_port", *options],
                env=common | {"OTEL_SERVICE_NAME": f"mobilenet-{role}"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
        wait_for("http://127.0.0.1:8080/v1/models/mobilenet")
        terminal = Terminal(folder, common)
        terminal.begin()
        for step in SCENE:
            terminal.play(
                step,
                lambda command: subprocess.Popen(
                    ["/bin/bash", "-c", command],
                    cwd=folder,
                    env=common,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                ),
            )
        seconds = terminal.end()
        PICTURE.write_text(drawn(terminal.frames, seconds))
    print(f"{PICTURE.relative_to(TOP)}: {PICTURE.stat().st_size / 1000:.0f} kB")


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    limit = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            if time.monotonic() > limit:
                sys.exit(f"{url} does not answer")
            time.sleep(0.2)


if __name__ == "__main__":
    main(sys.argv[1])
