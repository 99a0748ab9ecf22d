"""A bundle on disk, from making to publishing."""
