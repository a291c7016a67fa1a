"""The control socket: a user's programs speak with the user's running node, so that one identity is in one place."""
