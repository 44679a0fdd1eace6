"""What the bridge consists of: offsets, workers, retries, dead letters, and the handing over of one record."""
