"""`otel-kfs experiment`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_kfs.cli.measured import print_blocks, print_records, read_measurement
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import quiet_grpc
from otel_kfs.cli.output import progress, write
from otel_kfs.errors import ConfigError, MissingExtra, OtelKfsError
from otel_kfs.report.render import FORMATS, Format, comma_separated, markdown

if TYPE_CHECKING:
    from otel_kfs.experiment.config import ExperimentConfig
    from otel_kfs.experiment.trial_log import TrialLog


@click.command(
    epilog="""\b
Examples:
  otel-kfs experiment examples/experiments/ways.toml --dry-run
  otel-kfs experiment examples/experiments/ways.toml -o ways
  otel-kfs experiment examples/experiments/ways.toml -o ways --format json > ways.json
  otel-kfs experiment examples/experiments/load.toml -o load
  otel-kfs tables --trace-query ways/traces

docs/experiments.md says what a file may hold.
"""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run's folder. Given again, the run goes on where it was; when it is over, it is only ranked again.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and end.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Of what is printed; ranking.md and the tables as CSV lie in the folder anyway.",
)
@click.pass_obj
def experiment(obj: dict[str, bool], file: Path, output: Path | None, dry_run: bool, format_: Format) -> None:
    """Send images by every way of a matrix, in a fair order, and rank the ways.

    FILE is TOML: servers, images, a matrix of settings, how often; each block of the run sends each image once by each
    way, in an order drawn anew. Ctrl-C keeps what was done, and the same command goes on.
    """
    quiet_grpc()
    from otel_kfs.analysis.statistics import intervals_available
    from otel_kfs.experiment import config_file
    from otel_kfs.experiment.runner import run, try_settings

    plan = config_file.load(file)
    if dry_run:
        try_settings(plan)
        click.echo(_planned(plan))
        return
    if output is None:
        raise click.UsageError("where to? give --output FOLDER (or --dry-run)")
    if not intervals_available():
        raise MissingExtra("scipy", "analysis")
    quiet = obj["quiet"]
    again = f"otel-kfs experiment {file} -o {output}"
    try:
        journal = run(
            plan,
            output,
            say=lambda line: None if quiet else say(line),
            progress=functools.partial(progress, quiet=quiet),
        )
    except (KeyboardInterrupt, SystemExit, OtelKfsError) as error:
        if not isinstance(error, ConfigError) and (output / "traces").is_dir():
            say(f"What was done is kept; to go on:  {again}")
        raise
    _report(plan, journal, format_, quiet=quiet)


def _planned(plan: ExperimentConfig) -> str:
    """What would be sent."""
    lines = ["Cells, by transport and label; * is what the others are compared with:"]
    lines += [f"  {'*' if cell in plan.baselines else ' '} {cell.name}" for cell in plan.cells]
    lines.append(f"Images: {', '.join(plan.images)}")
    turns = len(plan.cells) * len(plan.images)
    if plan.arrivals is None:
        images = plan.repeat * len(plan.images) * sum(cell.concurrency for cell in plan.cells)
        cells = sum(cell.concurrency for cell in plan.cells)
        lines.append(
            f"{images} images: {plan.repeat} blocks of {turns} turns in an order drawn anew (seed {plan.seed}); before "
            f"them {plan.warmups * len(plan.images) * cells} warm-ups, after which the time is estimated"
        )
    else:
        chosen = plan.arrivals
        images = round(
            plan.repeat * len(plan.images) * sum((cell.rate or 0.0) * chosen.duration for cell in plan.cells)
        )
        seconds = plan.repeat * turns * chosen.duration
        lines.append(
            f"about {images} images: {plan.repeat} blocks of {turns} stages of {chosen.duration:g} s, "
            f"{chosen.pattern}, by {chosen.workers} threads (seed {plan.seed}); at least {seconds / 60:.1f} min after "
            "the warm-up"
        )
    return "\n".join(lines)


def _report(plan: ExperimentConfig, journal: TrialLog, format_: Format, *, quiet: bool) -> None:
    """Rank what lies in the folder (or where the plan says the traces are), print it, and write it there."""
    from otel_kfs.analysis.skew_correction import correct_skew
    from otel_kfs.experiment import ranking
    from otel_kfs.experiment.trial_filter import of_turns
    from otel_kfs.experiment.trial_log import TRACES

    query = plan.query or str(journal.folder / TRACES)
    query = f"{query}{'&' if '?' in query else '?'}run={journal.run_id}"
    if plan.query and "expect=" not in query:
        # A store shows a trace a while after its last span has left.
        query += f"&expect={sum(turn.sent - turn.failed for turn in journal.turns)}"
    measurement, line = read_measurement(query, quiet=quiet)
    all_cells, bounds = correct_skew(measurement)
    cells = of_turns(all_cells, journal.turns)
    if cut_off := sum(map(len, all_cells)) - sum(map(len, cells)):
        line = f"{line}; not ranked: {cut_off} of turns that were cut off and taken again"
    found, loads = ranking.rankings(cells, plan, bounds), ranking.loads(cells, plan, journal.turns)
    if not found:
        raise OtelKfsError(f"no image by the baseline, {plan.baselines[0].name}, was measured: {line}")
    tables = [*ranking.load_tables(loads), *ranking.ranking_tables(found, journal.failures())]
    records = {"ranking": ranking.ranking_records(found), "segments": ranking.segment_records(found)}
    if loads:
        records["load"] = ranking.load_records(loads)
    write(markdown(tables), journal.folder / "ranking.md")
    for name, rows in records.items():
        write(comma_separated(rows), journal.folder / f"{name}.csv")
    if format_ in {"text", "md"}:
        print_blocks(tables, format_, None)
    else:
        document: dict[str, Any] = {"run_id": journal.run_id, "seed": plan.seed, **records}
        print_records(records["ranking"], document, format_, None)
    if not quiet:
        say(line, err=format_ != "text")
        own_broker = plan.servers.embedded and not plan.servers.bootstrap_servers
        if own_broker and any(cell.transport == "kafka" for cell in plan.cells):
            from otel_kfs.demo import embedded_broker

            say(f"Figures about the broker are {embedded_broker.NAME}'s, not Apache Kafka's.")
        say(f"More of the same traces:  otel-kfs tables --trace-query {query!r}")
