"""The dialects: other vendors' APIs, each parsed and rendered over the services that the native API uses."""
