"""What a measurement says: tables as text, Markdown, CSV and JSON; charts; one self-contained HTML page.

documents.py                       the front door: measurement -> tables, records, JSON, the page or charts
tables/                            the rows of every table, and the notes below them
records/                           images, segments and differences as data: JSON, CSV, Parquet, data frames
terminal_bars.py                   bars of letters
clock_lines.py, coverage_lines.py  how clocks stood; what was measured, and what was left out
segment_names.py                   what a segment is called
render.py                          tables -> terminal, Markdown, CSV, JSON
answer.py                          the answer in a sentence or two
contents.py                        measurement -> what the page says, numbers only
charts/                            a chart each, and one of them as SVG or PNG
html/                              the HTML files: the report, and a comparison
"""
