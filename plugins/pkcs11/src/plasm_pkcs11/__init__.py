"""The signer pkcs11 of Plasm: an Ed25519 key in a hardware or software token."""
