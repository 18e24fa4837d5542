from collections.abc import Sequence
from os import PathLike

__all__ = ["__version__", "main"]

__version__: str

def main(args: Sequence[str | PathLike[str]]) -> int: ...
