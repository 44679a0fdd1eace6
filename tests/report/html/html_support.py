"""An HTML file read back."""

from collections import Counter
from html.parser import HTMLParser


class Parsed(HTMLParser):
    """Tags, attributes and the text of cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.raw, self.text = Counter(), [], {"script": "", "style": ""}, ""
        self.tables, self.table, self._in = {}, "", ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += [(tag, *pair) for pair in attributes]
        self._in = tag
        if tag == "table":
            self.table = dict(attributes).get("id", f"table {len(self.tables)}")
            self.tables[self.table] = []
        elif tag == "tr":
            self.tables[self.table].append([])
        elif tag in {"td", "th"}:
            self.tables[self.table][-1].append("")

    def handle_endtag(self, tag):
        self._in = ""
        if tag == "table":
            self.table = ""

    def handle_data(self, data):
        if self._in in self.raw:
            self.raw[self._in] += data
            return
        self.text += data
        if self.table and self.tables[self.table] and self.tables[self.table][-1]:
            self.tables[self.table][-1][-1] += data.strip("\n")

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]
