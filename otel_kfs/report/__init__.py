"""What a measurement says: rows, as text, Markdown, CSV and JSON; charts; one self-contained HTML page.

rows.py                            measurement -> the rows of every table
render.py, terminal_bars.py        rows -> terminal, Markdown, CSV, JSON
contents.py                        measurement -> what the page says, numbers only
charts/                            a chart each, and one of them as SVG or PNG
page.py, page.html, page.css, page.js        the HTML file
"""
