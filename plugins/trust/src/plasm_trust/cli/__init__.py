"""The commands of ``plasm repo``, one a file."""
