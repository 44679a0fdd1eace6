module otel-kfs/validate/collector

go 1.25.0
