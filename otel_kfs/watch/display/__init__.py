"""What people look at while images are sent: the terminal's table, the page.

losses.py           what was not measured, not kept or not handed on, in words
live_table.py       a snapshot -> a table that fits the terminal, again and again
live_contents.py    sketches -> what the report's charts are given
live_page.py, live.html, live.css, live.js, live_shell.html     the page, which changes as figures do
page_output.py      the page, as a watch is given it
"""
