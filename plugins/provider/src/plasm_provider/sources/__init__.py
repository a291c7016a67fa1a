"""Where what is offered comes from."""
