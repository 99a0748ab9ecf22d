"""A bundle on disk, and the graphs in it."""

from maskedge.bundle.format import Bundle, FileEntry, GoldenVector, GraphEntry, Manifest

__all__ = ["Bundle", "FileEntry", "GoldenVector", "GraphEntry", "Manifest"]
