"""The charts of the report, a module each, and the SVG, axis and colours that they share."""
