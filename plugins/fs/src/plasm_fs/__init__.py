"""Plasm's content-addressed stores in a folder and in memory."""
