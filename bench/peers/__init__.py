"""The projects that this one is measured beside: how each is set up, started and asked."""
