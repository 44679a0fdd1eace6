"""The browser that reports are looked at in."""

from chromium_support import _chromium, chromium

__all__ = ["_chromium", "chromium"]
