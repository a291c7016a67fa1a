"""Fetches one artifact from many providers at once, verified piece by piece, with no event loop."""
