"""Phase Boot: the boot modes as profiles."""
