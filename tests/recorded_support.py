"""What has to be said of the recordings in data/recorded to read them."""

from pathlib import Path

# Servers of which nothing but their name says that they are a model's: their users wrote the routes.
SERVERS_BY_NAME = {"flask", "fastapi", "litserve", "bentoml"}


def servers_of(recording: Path) -> list[str]:
    """The model servers that a recording's reader has to name."""
    return sorted({recording.stem} & SERVERS_BY_NAME)
