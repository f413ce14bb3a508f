"""Use cases: the order of the steps, and who may take them."""
