"""The store http of Plasm: content by its digest from any provider on the network."""
