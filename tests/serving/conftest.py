"""Makes the contract's fixtures known, and its asserts as telling as a test module's."""

import pytest

pytest.register_assert_rewrite("contract")

from contract import trace_id  # noqa: E402

__all__ = ["trace_id"]


@pytest.fixture(autouse=True)
def untraced():
    """Leaves no class of models traced for the next test."""
    yield
    from otel_kfs.serving.model_spans import untrace_all

    untrace_all()
