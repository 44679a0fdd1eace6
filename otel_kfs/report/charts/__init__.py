"""The charts of the report, one module each, and what they are drawn with."""
