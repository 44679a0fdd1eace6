"""Stamps of the user's own: for traces of any program, a file says which span's edge is which stamp.

stamps_file.py    the TOML file, checked
stamped_path.py   the path that its stamps make through the spans of a trace
"""
