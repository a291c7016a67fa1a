"""Plasm's runtime on the wasm3 engine."""
