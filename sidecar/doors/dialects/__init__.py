"""Doors that speak another vendor's API: parse and render, onto the services that the native API uses."""
