"""Asks a chat model twice by OpenAI's own client: ask.py URL."""

import sys

from openai import OpenAI

if __name__ == "__main__":
    client = OpenAI(base_url=sys.argv[1], api_key="none")
    for question in ("What is in the image?", "And behind it?"):
        client.chat.completions.create(model="vision", messages=[{"role": "user", "content": question}])
