"""Finds the providers of a boot channel, and says what a provider serves."""
