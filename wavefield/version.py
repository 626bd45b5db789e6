"""The version of the toolkit, which its four packages share."""

__version__ = "0.2.0"
