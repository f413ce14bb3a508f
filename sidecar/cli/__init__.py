"""Commands for people: each parses its words, calls a service and prints the outcome."""
