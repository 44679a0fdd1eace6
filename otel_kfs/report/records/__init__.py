"""Records of single images, and any records as Apache Arrow and Parquet."""
