"""The browser that the live page is looked at in."""

from chromium_support import _chromium, chromium

__all__ = ["_chromium", "chromium"]
