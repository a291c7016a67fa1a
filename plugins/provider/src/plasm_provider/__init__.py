"""The boot provider of Phase: serves what a publisher signed, and mirrors it."""
