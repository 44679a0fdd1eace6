"""One soak run: its processes, its load, its faults, and its end."""

from __future__ import annotations

import io
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otel_kfs.demo.processes import free_port

from . import topics
from .account import Account, reconcile
from .children import Child, Children

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "examples" / "mobilenet"
sys.path.insert(0, str(EXAMPLE))

RATES = (8, 12, 16, 20, 25, 30, 36, 43, 50, 60, 75)  # images a second, of both transports together
STEP_SECONDS = 8.0
HELD = 0.92  # the share of a step's images that has to be answered within it
DRAIN_SECONDS = 120.0
BACKLOG_SECONDS = 25.0  # as long as the broker's longest outage keeps the bridges from their records
SETTINGS = "session.timeout.ms=6000\nheartbeat.interval.ms=500\nfetch.wait.max.ms=50\n"


@dataclass(frozen=True)
class Fault:
    """What fails, when (as a share of the run), and for how many seconds."""

    at: float
    what: str
    seconds: float
    short: bool = False  # also in a run of less than 5 minutes


FAULTS = (
    Fault(0.07, "collector down", 30, short=True),
    Fault(0.16, "bridge 1 killed (-9)", 3, short=True),
    Fault(0.25, "broker killed (-9)", 10),
    Fault(0.36, "transformer killed (-9)", 3, short=True),
    Fault(0.45, "model answers 503", 15, short=True),
    Fault(0.54, "model slow, 0.2 s more", 15),
    Fault(0.62, "sender kafka 2 ended by SIGTERM", 3, short=True),
    Fault(0.68, "bridge 1 killed (-9)", 0),
    Fault(0.74, "broker killed (-9)", 5),
    Fault(0.82, "collector down", 15),
)


class Soak:
    """One run."""

    def __init__(self, minutes: float, folder: Path, kafka: Any, children: Children) -> None:
        self.seconds = minutes * 60
        self.folder = folder
        self.kafka = kafka
        self.children = children
        self.traces = folder / "traces"
        self.mood = folder / "mood"
        self.ports = {name: free_port() for name in ("transformer", "predictor", "collector")}
        self.sent: dict[str, list[dict[str, Any]]] = {"HTTP": [], "Kafka": []}
        self.told: list[dict[str, Any]] = []
        self.exported: dict[int, set[str]] = {}  # span ids by process id, as the collector got them
        self.log: list[tuple[float, str]] = []  # seconds after the begin of the load
        self.problems: list[str] = []
        self.rate = 0.0
        self.begin = self.end = time.monotonic()
        self.load: list[float] = []
        self.silence = 0.0  # the longest time, in seconds under load, in which no bridge told of a record
        self._heard = self.begin
        self._live: dict[str, Child] = {}
        self._said = 0.0

    # --- processes ---

    def start(self, name: str) -> Child:
        """Start one of the run's processes, again if it is its second life."""
        number = int(name[-1]) if name[-1].isdigit() else 0
        model = ["--http_port", str(self.ports.get(name, 0))]
        kafka = ["--bootstrap-servers", self.kafka.bootstrap_servers, "--topic", topics.TOPIC]
        url = f"http://127.0.0.1:{self.ports['transformer']}"
        pictures = ["--pictures", str(self.folder / "pictures"), "--seed", str(len(self.children.all))]
        loopback = ["-m", "otel_kfs.demo.loopback"]
        commands = {
            "collector": [str(HERE / "collector.py"), str(self.ports["collector"])],
            "predictor": [*loopback, str(HERE / "predictor.py"), *model],
            "transformer": [
                *loopback,
                str(EXAMPLE / "fast_transformer.py"),
                *model,
                "--predictor_host",
                f"127.0.0.1:{self.ports['predictor']}",
            ],
            "bridge": [
                *["-m", "otel_kfs.cli", "bridge", *kafka, "--url", url, "--model", "mobilenet", "--concurrency", "4"],
                *["--consumer-config", str(self.folder / "consumer.properties"), "--dead-letter-topic", topics.PARKED],
                *["--retries", "10", "--retry-for", "120", "--timeout", "30"],
            ],
            "sender http": [str(HERE / "sender.py"), "http", "--url", url, *pictures, "--timeout", "30"],
            "sender kafka": [str(HERE / "sender.py"), "kafka", *kafka, *pictures],
        }
        env = {
            "OTEL_KFS_TRACES_FILE": str(self.traces / f"{name.replace(' ', '-')}-{len(self.children.all)}.jsonl"),
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.ports['collector']}",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
            "PYTHONUNBUFFERED": "1",
            "SOAK_MOOD": str(self.mood),
        }
        kind = name[:-2] if number else name
        self._live[name] = child = self.children.start(name, [sys.executable, *commands[kind]], env)
        return child

    def wait_until(self, what: str, condition: Callable[[], Any], seconds: float = 60.0) -> None:
        """Wait, listening to the processes meanwhile."""
        limit = time.monotonic() + seconds
        while not condition():
            self.listen()
            if died := self.children.died():
                raise SystemExit("soak: " + "; ".join(died))
            if time.monotonic() > limit:
                raise SystemExit(f"soak: {what}: not within {seconds:g} s; the logs are in {self.folder}")
            time.sleep(0.1)

    def listen(self) -> None:
        """Take in what the processes have printed."""
        for child in self.children.all:
            if child.name.startswith("bridge"):
                told = child.news()
                self.told += told
                if told:
                    self._heard = time.monotonic()
            elif child.name.startswith("sender"):
                self.sent["HTTP" if "http" in child.name else "Kafka"] += child.news()
            elif child.name.startswith("collector"):
                for line in child.news():
                    self.exported.setdefault(line["pid"], set()).update(line["spans"])

    def set_rate(self, rate: float) -> None:
        """Images a second, of all senders together: half over HTTP, a quarter from each sender through Kafka."""
        self.rate = rate
        for name, share in (("sender http", 0.5), ("sender kafka 1", 0.25), ("sender kafka 2", 0.25)):
            self._live[name].say(f"{rate * share:.3f}")

    def answered(self) -> int:
        """Images that were answered or refused so far."""
        return len(self.told) + len(self.sent["HTTP"])

    # --- the run ---

    def set_up(self) -> None:
        """Start everything but the collector, and wait until a picture has come through both ways."""
        self.traces.mkdir()
        _pictures(self.folder / "pictures")
        (self.folder / "consumer.properties").write_text(SETTINGS)
        topics.create(self.kafka.bootstrap_servers)
        for name in ("predictor", "transformer", "bridge 1", "bridge 2"):
            self.start(name)
        for name in ("predictor", "transformer"):
            self.wait_until(f"the {name}", lambda name=name: _is_ready(self.ports[name]))
        for name in ("sender http", "sender kafka 1", "sender kafka 2"):
            self.start(name)
        self.set_rate(RATES[0])
        self.wait_until("the first answers", lambda: self.told and self.sent["HTTP"])

    def ramp(self) -> float:
        """Return the highest rate that was sustained, in images a second."""
        held = RATES[0] / 2
        for rate in RATES:
            # What the step before left behind is none of this one's.
            self.set_rate(0)
            self.wait_until("the backlog", lambda: len(self.told) >= self.delivered())
            self.set_rate(rate)
            before, started = self.answered(), time.monotonic()
            while time.monotonic() < started + STEP_SECONDS:
                self.listen()
                time.sleep(0.1)
            self.listen()
            found = (self.answered() - before) / (time.monotonic() - started)
            say(f"ramp: {rate} images/s offered, {found:.1f} answered")
            if found < HELD * rate:
                break
            held = float(rate)
        self.set_rate(0)
        self.wait_until("the backlog", lambda: len(self.told) >= self.delivered())
        return held

    def backlog(self, rate: float) -> None:
        """Give the bridges a backlog like those that the faults make: the memory that it takes once is no growth."""
        say(f"a backlog of {BACKLOG_SECONDS:g} s for the bridges, before their memory counts")
        self.mood.write_text("503")
        for name in ("sender kafka 1", "sender kafka 2"):
            self._live[name].say(f"{rate / 4:.3f}")
        limit = time.monotonic() + BACKLOG_SECONDS
        while time.monotonic() < limit:
            self.listen()
            time.sleep(0.1)
        self.mood.unlink()
        self.set_rate(0)
        self.wait_until("the backlog", lambda: len(self.told) >= self.delivered(), DRAIN_SECONDS)

    def delivered(self) -> int:
        """Return the records that Kafka senders were told are delivered."""
        return sum(line["outcome"] == "delivered" for line in self.sent["Kafka"])

    def under_load(self) -> None:
        """Send, and let one part after another fail."""
        faults = [fault for fault in FAULTS if fault.short or self.seconds >= 300]
        # A short run's faults are shorter, too.
        scale = min(1.0, self.seconds / 300)
        due = [(fault.at * self.seconds, fault.what, fault.seconds * scale) for fault in faults]
        events = sorted(
            [(at, self.fail, what) for at, what, _ in due] + [(at + lasts, self.mend, what) for at, what, lasts in due],
            key=lambda event: event[0],
        )
        self.begin = self._heard = time.monotonic()
        sampled = 0.0
        while (now := time.monotonic() - self.begin) < self.seconds:
            while events and events[0][0] <= now:
                _, act, what = events.pop(0)
                act(what)
            if now - sampled >= 2 or not sampled:
                sampled = now
                self.children.sample()
                self.load.append(os.getloadavg()[0])
            self.listen()
            self.silence = max(self.silence, time.monotonic() - self._heard)
            for died in self.children.died():
                if died not in self.problems:
                    self.problems.append(died)
                    say(died)
            self.progress(now)
            time.sleep(0.1)
        self.children.sample()
        self.end = time.monotonic()

    def note(self, what: str) -> None:
        """Keep what happened, and when."""
        at = time.monotonic() - self.begin
        self.log.append((at, what))
        say(f"{_clock(at)} {what}")

    def fail(self, what: str) -> None:
        """Begin a fault."""
        self.note(what)
        if what.startswith("broker"):
            self.kafka.kill()
        elif what.startswith("model"):
            self.mood.write_text("503" if "503" in what else "slow 0.2")
        else:
            name = re.sub(r" (down|killed|ended).*", "", what)
            child = self._live[name]
            if "SIGTERM" in what:
                child.terminate()
                child.wait(90)
            else:
                child.kill()

    def mend(self, what: str) -> None:
        """End a fault."""
        if what.startswith("broker"):
            self.kafka.start_again()
            self.note("broker back")
        elif what.startswith("model"):
            self.mood.unlink()
            self.note("model as before")
        else:
            name = re.sub(r" (down|killed|ended).*", "", what)
            self.start(name)
            if name.startswith("sender"):
                self.set_rate(self.rate)
            self.note(f"{name} started again")

    def progress(self, now: float) -> None:
        """How far it is, on a terminal each second, elsewhere twice a minute."""
        terminal = sys.stderr.isatty()
        if time.monotonic() - self._said < (1 if terminal else 30):
            return
        self._said = time.monotonic()
        sent = len(self.sent["HTTP"]) + len(self.sent["Kafka"])
        line = (
            f"{_clock(now)}, {_clock(self.seconds - now)} left: {sent} sent, {len(self.told)} of {self.delivered()} "
            "records dealt with"
        )
        print(
            f"\r{line}\033[K" if terminal else f"soak: {line}",
            end="" if terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def stop(self) -> None:
        """End the senders, let the bridges come to the end of the topic, then end them and the servers, in order."""
        say("the senders end; what is in the topic is waited for")
        for child in self.living("sender"):
            child.close()
        for child in self.living("sender"):
            self._end(child, 90)
        self.listen()
        limit = time.monotonic() + DRAIN_SECONDS
        ends = topics.length(self.kafka.bootstrap_servers)
        while len({(line["partition"], line["offset"]) for line in self.told}) < ends and time.monotonic() < limit:
            time.sleep(0.2)
            self.listen()
        for prefix in ("bridge", "transformer", "predictor"):
            for child in self.living(prefix):
                child.terminate()
            for child in self.living(prefix, ended=True):
                self._end(child, 60)
        self.listen()
        for child in self.living("collector"):
            child.terminate()
            child.wait(10)

    def _end(self, child: Child, seconds: float) -> None:
        if child.wait(seconds) is None:
            self.problems.append(f"{child.name} did not end within {seconds:g} s after the {child.ended_by}")

    def living(self, prefix: str, *, ended: bool = False) -> list[Child]:
        """Return the last lives of the processes whose names begin so."""
        return [
            child
            for name, child in self._live.items()
            if name.startswith(prefix) and (ended or child.process.poll() is None)
        ]

    # --- what is found ---

    def account(self, *, interrupted: bool) -> Account:
        """Return what became of every image; after an interruption without the topics, as their broker may be down."""
        topic, parked = ({}, []) if interrupted else topics.contents(self.kafka.bootstrap_servers)
        classes = _classes(self.folder / "pictures")
        account = reconcile(self.sent, self.told, topic, parked, classes)
        account.problems += self.problems
        return account


def _pictures(folder: Path) -> None:
    """Photographs of 30 to 60 kB."""
    from PIL import Image

    folder.mkdir()
    (folder / "cat.jpg").write_bytes((EXAMPLE / "photos" / "chelsea.jpg").read_bytes())
    coffee = io.BytesIO()
    with Image.open(EXAMPLE / "photos" / "coffee.jpg") as picture:
        picture.save(coffee, "JPEG", quality=75)
    (folder / "coffee.jpg").write_bytes(coffee.getvalue())


def _classes(folder: Path) -> dict[str, int]:
    """Return what the model itself says about each image."""
    import numpy as np
    from mobilenet import MobileNet, fast_tensor

    model = MobileNet()
    return {
        path.stem: model.classify(np.asarray(fast_tensor(path.read_bytes())))["class"] for path in folder.glob("*.jpg")
    }


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models/mobilenet", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def say(text: str) -> None:
    """One line on standard error."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else f"soak: {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"
