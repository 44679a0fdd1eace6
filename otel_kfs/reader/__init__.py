"""`otel_kfs.read`: a measurement for notebooks and CI, as rows, data frames, a sentence, a comparison, a report."""
