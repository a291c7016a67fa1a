"""``plasm serve``, ``plasm mirror`` and ``plasm provider``; each module is imported when its command is called."""
