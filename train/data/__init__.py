"""Images to train on; `load_images` is the door."""

from train.base.errors import DataError

from .cache import default_cache
from .image_set import ImageSet
from .load import MEMORY_LIMIT, NAMES, load_images
from .order import ShuffledOrder
from .pixels import to_float, to_uint8

__all__ = [
    "MEMORY_LIMIT",
    "NAMES",
    "DataError",
    "ImageSet",
    "ShuffledOrder",
    "default_cache",
    "load_images",
    "to_float",
    "to_uint8",
]
