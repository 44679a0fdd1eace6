"""HTML files that load nothing from elsewhere: the report of a measurement, and that of a comparison.

html_file.py                       a template -> the file, with its style, script and content security policy
layout.html, macros.html           what both have in common
page.py, page.html                 the report
comparison_page.py, comparison.html     the comparison
page.css, page.js                  the look, and what a reader can do
"""
