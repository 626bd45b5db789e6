"""The version of the toolkit, which its four packages share."""

__version__ = "0.1.0"
