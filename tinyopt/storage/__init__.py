"""A weight to bytes and back, in one of several kinds of storage. Start with `registry.py`, then `kinds.py`."""

from tinyopt.storage import formats, grouped, hashed, kinds, low_bit  # noqa: F401  each registers its kinds
from tinyopt.storage.registry import STORAGE, pack, plain, storage, unpack

__all__ = ["STORAGE", "pack", "plain", "storage", "unpack"]
