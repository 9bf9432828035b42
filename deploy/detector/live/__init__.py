"""The live page of ``detect.py --serve``: a camera's picture with its faces, in a browser.

The way of a picture, each step in a file of its own::

    cameras -> capture (a thread; the newest wins) -> watching (finds faces, encodes once)
            -> hub (the newest view) -> web (asyncio, a thread; routes, guard) -> browser (page/)

It needs what ``detect.py`` needs and nothing else: the server is the standard library's asyncio.
All times are monotonic: a clock that jumps changes nothing.
"""

from __future__ import annotations

from .service import serve

__all__ = ["serve"]
