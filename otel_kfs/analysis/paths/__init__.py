"""From the spans of one image to its critical path, section by section, or to the reason why it has none."""
