"""Plasm's runtime on the wasmer engine."""
