"""The critical path that Jaeger's UI draws, by the rule that it describes: what was the reason to wait, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from support import Written


@dataclass
class _Node:
    """A span as Jaeger keeps it, in microseconds, and within its parent's time."""

    span: Written
    start: int
    end: int
    children: list[_Node] = field(default_factory=list)


def critical_path(spans: Sequence[Written]) -> Counter[tuple[str, str]]:
    """The microseconds of each span's own on the critical path of one trace, by service and name.

    From a span's end backwards: the child that ends last is on the path, and from its start on backwards the child that
    ends last before it; what lies between is the span's own.
    """
    ids = {span.span_id for span in spans}
    (root,) = [span for span in spans if span.parent_id not in ids]
    found: Counter[tuple[str, str]] = Counter()
    _walk(_node(root, spans, root.start // 1000, root.end // 1000), found)
    return +found


def _node(span: Written, spans: Sequence[Written], earliest: int, latest: int) -> _Node:
    start, end = max(span.start // 1000, earliest), min(span.end // 1000, latest)
    below = [one for one in spans if one.parent_id == span.span_id]
    inside = [one for one in below if one.start // 1000 < end and one.end // 1000 > start]
    return _Node(span, start, end, [_node(one, spans, start, end) for one in inside])


def _walk(node: _Node, found: Counter[tuple[str, str]]) -> None:
    own = node.span.service, node.span.name
    left, until = sorted(node.children, key=lambda child: child.end), node.end
    while left:
        child = left.pop()
        if child.end < until or until == node.end:
            found[own] += until - child.end
            _walk(child, found)
            until = child.start
    found[own] += until - node.start
