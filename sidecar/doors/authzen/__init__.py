"""The door of the OpenID AuthZEN Authorization API 1.0."""
