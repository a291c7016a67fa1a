"""Plasm's runtime on the wasmtime engine."""
