"""Images, segments and differences as records, and any records as Apache Arrow and Parquet."""
