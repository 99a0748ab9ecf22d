"""Places on any file system: what is there, reading it, and files that appear complete or not at all."""
