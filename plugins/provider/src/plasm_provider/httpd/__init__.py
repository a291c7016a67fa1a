"""A small HTTP/1.1 server for files, on trio in a thread of its own; it knows nothing of what it serves."""
