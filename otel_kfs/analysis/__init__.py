"""From spans to statistics: critical path, segments, measurement, comparison; clock skew; manual timestamps."""
