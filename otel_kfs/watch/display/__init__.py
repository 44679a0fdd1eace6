"""What people look at while images are sent: the terminal's table, the page.

losses.py           what was not measured, not kept or not handed on, in words
live_table.py       a snapshot -> a table that fits the terminal, again and again
"""
