"""One self-contained HTML file, and figures for documents, of what a measurement says.

contents.py  measurement -> what the report says, numbers only     fit.py         cost per request and per MB
svg.py, axis.py, palette.py   what every chart is drawn with       waterfall.py   one trace's spans as rows, drawn
stacked_bars.py, distributions.py, sizes.py  a chart each          figure.py      charts as one SVG or PNG
page.py, page.html, page.css, page.js        the HTML file
"""
