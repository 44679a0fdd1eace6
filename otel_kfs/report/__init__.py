"""What a measurement says: tables as text, Markdown, CSV and JSON; charts; one self-contained HTML page.

documents.py                       the front door: measurement -> tables, records, JSON, the page or charts
rows.py, terminal_bars.py          the rows of every table; bars of letters
comparison_rows.py, timestamp_rows.py        those of a comparison, and of stamps beside traces
clock_lines.py, coverage_lines.py  how clocks stood; what was measured, and what was left out
segment_names.py                   what a segment is called
render.py                          tables -> terminal, Markdown, CSV, JSON
contents.py                        measurement -> what the page says, numbers only
charts/                            a chart each, and one of them as SVG or PNG
html/                              the HTML files: the report, and a comparison
"""
