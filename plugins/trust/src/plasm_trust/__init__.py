"""Who signed what is booted: TUF repositories, their clients, and signed manifests."""
