"""Discovery of Plasm nodes on the local link by DNS-SD."""
