"""Generated programs on which every engine must end alike."""
