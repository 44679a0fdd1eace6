"""Records that share a request: which of a worker's records do, and their one `process` span."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from otel_kfs import semconv
from otel_kfs.bridge import outcomes, request_headers
from otel_kfs.bridge.batches.merged_request import Part, merged, parsed
from otel_kfs.bridge.bridge_options import BridgeOptions
from otel_kfs.bridge.outcomes import Answer
from otel_kfs.bridge.record_handler import ModelConnection, Task
from otel_kfs.errors import SendError
from otel_kfs.kafka.headers import headers_of
from otel_kfs.kafka.process_spans.batch_span import ProcessBatch
from otel_kfs.kafka.process_spans.process_span import operation_of

_MOST_BYTES = 64_000_000  # in one request: KFServing takes 100 MB

Batch = list[tuple[Task, Part | None]]


def batches(tasks: Sequence[Task]) -> Iterator[Batch]:
    """Divide a worker's records, in their order, into those that can share a request, and others, each by itself.

    What may have been delivered before goes by itself: it may be what ended that bridge.
    """
    batch: Batch = []
    size = 0
    for task in tasks:
        part = _part(task) if len(tasks) > 1 and task.delivery == 1 else None
        before = batch[-1][1] if batch else None
        fits = part is not None and before is not None and before.kind == part.kind and size + part.size <= _MOST_BYTES
        if batch and not fits:
            yield batch
            batch, size = [], 0
        batch.append((task, part))
        size += 0 if part is None else part.size
    if batch:
        yield batch


def _part(task: Task) -> Part | None:
    try:
        headers = request_headers.http_headers(headers_of(task.record))
    except SendError:  # too many of them, which is said of that record alone
        return None
    return parsed(task.record.value() or b"", headers)


def handle_batch(batch: Batch, model: ModelConnection, options: BridgeOptions) -> list[Answer]:
    """Hand records to the model in one request.

    Raises:
        SendError: there can be no such request, it refused or did not answer that, or the answer can't be taken apart.
    """
    records, started = [task.record for task, _ in batch], time.monotonic()
    try:
        request = merged([part for _, part in batch if part is not None])
    except (ValueError, RecursionError) as error:  # nested as deeply as can just be read
        raise SendError(f"no request of all of them can be written: {error}") from error
    batch_spans = ProcessBatch(records, operation_of(None, options.group), options.trust_context)
    with batch_spans:
        answers = request.split(model.answer_once(request.body, request.headers))
        for span in batch_spans.spans:  # of several topics the outermost is the trace's root, and it is searched for
            span.set_attribute(semconv.OUTCOME, outcomes.ANSWERED)
    duration = time.monotonic() - started
    return [
        Answer(record.topic(), record.partition(), record.offset(), outcomes.ANSWERED, answer=answer, duration=duration)
        for record, answer in zip(records, answers, strict=True)
    ]
