"""What the README says to type on a machine that has next to nothing."""
