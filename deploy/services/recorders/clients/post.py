"""Posts files to a model with a client that OpenTelemetry's contrib instruments: post.py httpx|aiohttp URL FILE..."""

import asyncio
import sys
from pathlib import Path

HEADERS = {"content-type": "application/json"}


def with_httpx(url: str, bodies: list[bytes]) -> None:
    """Post them by httpx."""
    import httpx

    with httpx.Client(timeout=60, trust_env=False) as client:
        for body in bodies:
            client.post(url, content=body, headers=HEADERS).raise_for_status()


def with_aiohttp(url: str, bodies: list[bytes]) -> None:
    """Post them by aiohttp."""
    import aiohttp

    async def post() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            for body in bodies:
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    await answer.read()

    asyncio.run(post())


if __name__ == "__main__":
    name, url, *files = sys.argv[1:]
    {"httpx": with_httpx, "aiohttp": with_aiohttp}[name](url, [Path(file).read_bytes() for file in files])
