"""Plasm over libp2p: the transport libp2p and the discovery dht."""
