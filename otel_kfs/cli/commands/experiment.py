"""`otel-kfs experiment`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import quiet_grpc
from otel_kfs.cli.output import progress, write
from otel_kfs.cli.parameter_types import Choice
from otel_kfs.cli.read_traces import print_blocks, print_records, read_measurement
from otel_kfs.errors import ConfigError, MissingExtra, OtelKfsError, TraceQueryError
from otel_kfs.report.render import FORMATS, Format, comma_separated, markdown

if TYPE_CHECKING:
    from otel_kfs.experiment.config.experiment_config import ExperimentConfig
    from otel_kfs.experiment.trial_log import TrialLog


@command(
    short_help="Compare and rank ways of sending.",
    epilog="""\b
Examples:
  otel-kfs experiment examples/experiments/ways.toml --dry-run
  otel-kfs experiment examples/experiments/ways.toml -o ways
  otel-kfs experiment examples/experiments/ways.toml -o ways --format json
  otel-kfs experiment examples/experiments/load.toml -o load
  otel-kfs tables ways/traces

docs/experiments.md describes the file.
""",
)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="The run's folder. An existing run resumes where it stopped; a finished run is only ranked again.",
)
@option("--dry-run", is_flag=True, help="Show what would be sent, and exit.")
@option(
    "--format",
    "format_",
    type=Choice(FORMATS),
    default="text",
    show_default=True,
    help="The printed format; the folder always gets ranking.md and CSV files.",
)
@click.pass_obj
def experiment(obj: dict[str, bool], file: Path, output: Path | None, dry_run: bool, format_: Format) -> None:
    """Send images by every combination of a matrix of settings, in a fair order, and rank the combinations.

    FILE is TOML: servers, images, the matrix, how often. In each block of the run, every combination sends every image
    once, in a new random order. Ctrl-C keeps what was done; run the same command again to resume.
    """
    quiet_grpc()
    from otel_kfs.analysis.statistics import intervals_available
    from otel_kfs.experiment.cell_senders import try_settings
    from otel_kfs.experiment.config import config_file
    from otel_kfs.experiment.runner import run

    config = config_file.load(file)
    if dry_run:
        try_settings(config)
        click.echo(_summary(config))
        return
    if output is None:
        raise click.UsageError("no folder for the run: give --output FOLDER (or --dry-run)")
    if not intervals_available():
        raise MissingExtra("scipy", "analysis")
    quiet = obj["quiet"]
    again = f"otel-kfs experiment {file} -o {output}"
    try:
        log = run(
            config,
            output,
            say=lambda line: None if quiet else say(line),
            progress=functools.partial(progress, quiet=quiet),
        )
    except (KeyboardInterrupt, SystemExit, OtelKfsError) as error:
        if not isinstance(error, ConfigError) and (output / "traces").is_dir():
            say(f"What was done is kept; to resume:  {again}")
        raise
    try:
        _report(config, log, format_, quiet=quiet)
    except TraceQueryError:
        say(f"All was sent and is kept; to read the traces again and rank them:  {again}")
        raise


def _summary(config: ExperimentConfig) -> str:
    """Say what would be sent."""
    lines = ["Cells, by transport and label; * is what the others are compared with:"]
    lines += [f"  {'*' if cell in config.baselines else ' '} {cell.name}" for cell in config.cells]
    lines.append(f"Images: {', '.join(config.images)}")
    trials = len(config.cells) * len(config.images)
    if (arrivals := config.arrivals) is None:
        at_once = sum(cell.concurrency for cell in config.cells)
        images, warmups = (times * len(config.images) * at_once for times in (config.repeat, config.warmups))
        lines.append(
            f"{images} images: {config.repeat} blocks of {trials} trials in random order (seed {config.seed}); "
            f"before them {warmups} warm-ups, after which the time is estimated"
        )
    else:
        images = round(
            config.repeat * len(config.images) * sum((cell.rate or 0.0) * arrivals.duration for cell in config.cells)
        )
        minutes = config.repeat * trials * arrivals.duration / 60
        lines.append(
            f"about {images} images: {config.repeat} blocks of {trials} stages of {arrivals.duration:g} s, "
            f"{arrivals.pattern}, by {arrivals.workers} threads (seed {config.seed}); at least {minutes:.1f} min after "
            "the warm-up"
        )
    return "\n".join([*lines, *_too_few_blocks(config)])


def _too_few_blocks(config: ExperimentConfig) -> list[str]:
    """Say, before anything runs, that its blocks are too few for any verdict."""
    from otel_kfs.analysis.statistics import intervals_available
    from otel_kfs.experiment.block_tests import needed_blocks

    comparisons = len(config.images) * (len(config.cells) - len(config.baselines))
    if not comparisons or not intervals_available():
        return []
    needed = needed_blocks(comparisons, paired=config.arrivals is not None)
    if config.repeat >= needed:
        return []
    return [f"repeat = {config.repeat} is too few to call a cell faster or slower than the baseline: it takes {needed}"]


def _report(config: ExperimentConfig, log: TrialLog, format_: Format, *, quiet: bool) -> None:
    """Rank what lies in the folder (or where the configuration says the traces are), print it, and write it there."""
    from otel_kfs.experiment import ranking, ranking_tables
    from otel_kfs.experiment.trial_log import TRACES, within_trials
    from otel_kfs.report.tables.table import Table
    from otel_kfs.traces.query_url import is_url, joined, options_of

    answered = sum(result.sent - result.failed for result in log.results)
    query = joined(config.query or str(log.folder / TRACES), {"run": [log.run_id]})
    if is_url(query) and "expect" not in options_of(query):
        # A store shows a trace a while after its last span has left. What is not there in the end is an error.
        query = joined(query, {"expect": [str(answered)]})
    measurement, line = read_measurement(query, quiet=quiet)
    series = within_trials(measurement.series, log.results)
    if cut_off := sum(map(len, measurement.series)) - sum(map(len, series)):
        line = f"{line}; not ranked: {cut_off} of trials that were cut off and repeated"
    if (lost := answered - sum(map(len, series))) > 0:
        line = f"{line}; answered, but not measured: {lost}"
    found = ranking.rankings(series, config, log.results, measurement.bounds)
    saturations = ranking.saturations(series, config, log.results)
    if not found:
        raise OtelKfsError(f"no image by the baseline, {config.baselines[0].name}, was measured: {line}")
    answer = ranking_tables.ranking_answer(found, saturations)
    tables = [
        Table("", (), (), (answer,)),
        *ranking_tables.saturation_tables(saturations),
        *ranking_tables.ranking_tables(found, log.failures()),
    ]
    records = {"ranking": ranking_tables.ranking_records(found), "segments": ranking_tables.segment_records(found)}
    if saturations:
        records["load"] = ranking_tables.saturation_records(saturations)
    write(markdown(tables), log.folder / "ranking.md")
    for name, rows in records.items():
        write(comma_separated(rows), log.folder / f"{name}.csv")
    if format_ in {"text", "md"}:
        print_blocks(tables, format_, None)
    else:
        document: dict[str, Any] = {"answer": answer, "run_id": log.run_id, "seed": config.seed, **records}
        print_records(records["ranking"], document, format_, None)
    if not quiet:
        say(line, err=format_ != "text")
        own_broker = config.servers.embedded and not config.servers.bootstrap_servers
        if own_broker and any(cell.transport == "kafka" for cell in config.cells):
            from otel_kfs.demo import embedded_broker

            say(f"Figures about the broker are {embedded_broker.NAME}'s, not Apache Kafka's.")
        say(f"More tables of these traces:  otel-kfs tables {query!r}")
