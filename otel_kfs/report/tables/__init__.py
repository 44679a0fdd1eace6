"""The rows of every table: of a measurement, of a comparison, of stamps beside traces."""
